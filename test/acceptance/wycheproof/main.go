// Wycheproof shows that internal/jws agrees with every vector of Wycheproof that concerns it, but for the exceptions
// that are written down, each by number. Run it from anywhere in the repository; the vectors are a nested module.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"intaglio.example/test/acceptance/internal/accept"
)

// How many vectors the pinned version has. Another number would mean that some were not run.
const (
	joseVectors = 401 + 26 + 83 // JWS, JWK and both together
	allVectors  = 7343          // with the signature primitives
)

// wantExceptions are the only vectors that may come out otherwise than their file says.
var wantExceptions = map[string][]int{
	"json_web_signature_test.json": {346, 347, 350, 351, 367, 370, 372, 373},
	"json_web_crypto_test.json":    {50, 67},
}

// A tally is what the tests print for each file.
type tally struct {
	File           string         `json:"file"`
	Valid          int            `json:"valid"`
	ValidAccepted  int            `json:"valid_accepted"`
	Invalid        int            `json:"invalid"`
	InvalidRefused int            `json:"invalid_refused"`
	FalseAccepts   []int          `json:"false_accepts"`
	FalseRefusals  []int          `json:"false_refusals"`
	Exceptions     map[int]string `json:"exceptions"`
	Foreign        int            `json:"foreign"`
	HMAC           int            `json:"hmac"`
}

func main() {
	accept.Run("wycheproof", "internal/jws accepts no vector it should refuse", show)
}

func show(r *accept.Report) error {
	root, err := accept.Root()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "test", "-count=1", "-v", "./...")
	cmd.Dir = filepath.Join(root, "test", "wycheproof")
	r.Note("in %s", cmd.Dir)
	out, testErr := r.Exec(cmd) // the figures are worth showing even if it failed
	tallies, err := parse(out)
	if err != nil {
		return err
	}
	report(r, tallies)
	return testErr
}

// parse finds the tallies in the output of go test.
func parse(out string) ([]tally, error) {
	var tallies []tally
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() {
		text, ok := strings.CutPrefix(lines.Text(), "WYCHEPROOF ")
		if !ok {
			continue
		}
		var y tally
		if err := json.Unmarshal([]byte(text), &y); err != nil {
			return nil, fmt.Errorf("reading the figures of the tests: %w: %s", err, text)
		}
		tallies = append(tallies, y)
	}
	return tallies, lines.Err()
}

// report prints a line for every file, and holds the sums against the bars.
func report(r *accept.Report, tallies []tally) {
	var vectors, jose, foreign, hmac, falseAccepts, falseRefusals, foreignFiles int
	exceptions := map[string][]int{}
	for _, y := range tallies {
		vectors += y.Valid + y.Invalid
		foreign += y.Foreign
		hmac += y.HMAC
		falseAccepts += len(y.FalseAccepts)
		falseRefusals += len(y.FalseRefusals)
		if strings.HasPrefix(y.File, "json_web_") {
			jose += y.Valid + y.Invalid
		}
		if y.Valid+y.Invalid == 0 {
			foreignFiles++
			continue
		}
		numbers := slices.Sorted(maps.Keys(y.Exceptions))
		r.Note("%-36s %3d of %3d valid accepted, %3d of %3d invalid refused", strings.TrimSuffix(y.File, "_test.json"),
			y.ValidAccepted, y.Valid, y.InvalidRefused, y.Invalid)
		for _, id := range numbers {
			r.Note("  exception #%d: %s", id, y.Exceptions[id])
		}
		if len(numbers) > 0 {
			exceptions[y.File] = numbers
		}
	}
	r.Note("%d more files hold only signatures with parameters JOSE does not allow", foreignFiles)
	r.Note("%d signatures that are valid with parameters JOSE does not allow (other salts, masks, hashes) were tried under every RSA algorithm", foreign)
	r.Note("%d of the JOSE vectors have an HMAC key: our parser and a stand-in for the key that only the tests have", hmac)
	r.Equal("vectors of JWS and JWK run", jose, joseVectors)
	r.Equal("vectors run in all", vectors, allVectors)
	r.Equal("false accepts", falseAccepts, 0)
	r.Equal("false refusals", falseRefusals, 0)
	r.Figure("exceptions", fmt.Sprint(exceptions), fmt.Sprint(wantExceptions), maps.EqualFunc(exceptions, wantExceptions, slices.Equal))
}
