# Everything here runs from any directory name, and needs no network but the Go module proxy (and for `make test` on a
# bare machine, Debian and npm).
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory

TOOLS    := .cache/tools
GENERATE := $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc

NAME      ?=     # of one acceptance program
ARGS      ?=     # for `run`, or for the acceptance program NAME
TESTFLAGS ?=     # for every go test, such as -v
FUZZTIME  ?= 10m # for each fuzz target of `soak`

.PHONY: help
help: ## print this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: build ## build, walk once through the main job, then keep serving (ARGS: more flags for intaglio dev)
	bin/intaglio dev --walk $(ARGS)

.PHONY: build
build: ## bin/intaglio: one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/ ./cmd/intaglio

.PHONY: check
check: lint ## the inner loop: lint, unit and property tests; under 3 minutes
	go test -short $(TESTFLAGS) ./...

.PHONY: test
test: parts lint ## everything: all tests, the race detector, other people's software, acceptance programs
	go test $(TESTFLAGS) ./...
	CGO_ENABLED=1 go test -race -short $(TESTFLAGS) ./keyring/... ./backends/... ./rotation/... ./server/...
	for mod in $(wildcard test/*/go.mod); do (cd "$$(dirname $$mod)" && go vet ./... && go test $(TESTFLAGS) ./...); done
	test/accept.sh

.PHONY: soak
soak: parts ## the long ones: 200 kills, every fuzz target for FUZZTIME (10m), a newcomer's first hour, the benchmark
	test/accept.sh crash -kills 200
	test/fuzz.sh $(FUZZTIME)
	test/accept.sh newcomer
	test/accept.sh bench

.PHONY: bench
bench: ## SignToken and BatchSignTokens beside raw crypto, as ratios
	test/accept.sh bench $(ARGS)

.PHONY: accept
accept: ## acceptance programs: NAME=… ARGS=…, or all that are not long
	test/accept.sh $(NAME) $(ARGS)

.PHONY: lint
lint: $(TOOLS)/staticcheck $(GENERATE) ## gofmt, vet, staticcheck, buf lint and breaking, generated code fresh
	@bad=$$(find . \( -name node_modules -o -path ./.cache \) -prune -o -name '*.go' -print0 | xargs -0 gofmt -l); \
	if [ -n "$$bad" ]; then printf 'not gofmt:\n%s\n' "$$bad" >&2; exit 1; fi
	go vet ./...
	$(TOOLS)/staticcheck ./...
	$(TOOLS)/buf lint
	@if tag=$$(git describe --tags --abbrev=0 2>/dev/null); \
	then set -x; $(TOOLS)/buf breaking --against ".git#tag=$$tag"; \
	else echo 'buf breaking: no tag yet, so nothing to compare with'; fi
	@fresh=$$(mktemp -d); trap 'rm -rf "$$fresh"' EXIT; $(TOOLS)/buf generate -o "$$fresh"; \
	diff -r -x doc.go "$$fresh/api/intagliov1" api/intagliov1 >&2 || \
	{ echo 'api/intagliov1 is not what proto/ generates: run make proto' >&2; exit 1; }

.PHONY: proto
proto: $(GENERATE) ## regenerate api/intagliov1 from proto/
	rm -f api/intagliov1/*.pb.go
	$(TOOLS)/buf generate

.PHONY: parts
parts: # what `make test` needs and Go does not bring
	@test/parts.sh

# Tools are pinned in modules of their own, so that go.mod stays what users link. buf needs a newer protobuf than
# protoc-gen-go pins, hence two.
$(TOOLS)/buf: tools/buf/go.mod tools/buf/go.sum
	@echo 'building buf (once)'
	@mkdir -p $(TOOLS)
	@go build -C tools/buf -o ../../$@ github.com/bufbuild/buf/cmd/buf
	@touch $@

TOOL_staticcheck        := honnef.co/go/tools/cmd/staticcheck
TOOL_protoc-gen-go      := google.golang.org/protobuf/cmd/protoc-gen-go
TOOL_protoc-gen-go-grpc := google.golang.org/grpc/cmd/protoc-gen-go-grpc

$(TOOLS)/staticcheck $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc: tools/go.mod tools/go.sum
	@echo 'building $(@F) (once)'
	@mkdir -p $(TOOLS)
	@go build -C tools -o ../$@ $(TOOL_$(@F))
	@touch $@
