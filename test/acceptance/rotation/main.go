// Command rotation shows that keys rotate for months without a gap, a refused token or a second signer: in simulated
// time with everything that can go wrong, and in a small world where every interleaving is walked.
package main

import (
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"intaglio.example/test/acceptance/internal/accept"
)

const seedsBar, daysBar = 50, 60

// busyBar is how many tokens, and how many verifications, a simulated day of one seed must have seen to say anything.
const busyBar = 100

func main() {
	accept.Run("rotation", "months of rotation without a gap, a refused token or a second signer", show)
}

func show(r *accept.Report) error {
	root, err := accept.Root()
	if err != nil {
		return err
	}
	months, err := test(r, root, "^TestRotationForMonths$", "-seeds", strconv.Itoa(seedsBar))
	if err != nil {
		return err
	}
	figures, err := read(months)
	if err != nil {
		return err
	}
	r.AtLeast("seeds played", float64(figures["seeds"]), seedsBar, "")
	r.AtLeast("days simulated in each", float64(figures["days"]), daysBar, "")
	r.Note("2 replicas, 3 verifiers that keep a key set for its whole max-age; clocks wrong up to the skew; backend down for hours; store losing 1 %% of answers; replicas killed")
	r.Note("the test itself fails on any call that finds no signer, live token that is refused, key that signs past its cap, second signer at one revision, and backend key without a record")
	r.Note("%d tokens by %d keys, %d verifications, %d calls met a stale snapshot and were told so", figures["tokens"], figures["keys"], figures["verifications"], figures["stale"])
	r.AtLeast("keys, one a day for each of two rings", float64(figures["keys"]), seedsBar*daysBar*2, "")
	played := max(1, figures["seeds"]*figures["days"]) // days, of all seeds
	r.AtLeast("tokens that found a signer, a simulated day and seed", float64(figures["tokens"]/played), busyBar, "")
	r.AtLeast("tokens held against a verifier's key set, a simulated day and seed", float64(figures["verifications"]/played), busyBar, "")

	world, err := test(r, root, "^TestSmallWorld(Holds|Sees)$")
	if err != nil {
		return err
	}
	all := states.FindAllStringSubmatch(world, -1)
	for _, m := range all {
		r.Note("%s states, every one reachable walked: %s", m[1], m[2])
	}
	r.Equal("small worlds walked to their end without a violation", len(all), 2)
	r.AtLeast("rules taken away one at a time, each seen to lead to a violation", float64(len(seen.FindAllString(world, -1))), 8, "")
	return nil
}

var (
	pair   = regexp.MustCompile(`(\w+)=(\d+)`)
	states = regexp.MustCompile(`figure: states=(\d+) complete=(true)`)
	seen   = regexp.MustCompile(`--- PASS: TestSmallWorldSees/`)
)

func test(r *accept.Report, root, run string, args ...string) (string, error) {
	cmd := exec.Command("go", append([]string{"test", "-count=1", "-timeout=30m", "-v", "-run", run, "./rotation"}, args...)...)
	cmd.Dir = root
	return r.Exec(cmd)
}

// read reads the line of figures; a line that is not there has none, and meets no bar.
func read(out string) (map[string]int, error) {
	figures := map[string]int{}
	line := regexp.MustCompile(`figure: .*`).FindString(out)
	for _, m := range pair.FindAllStringSubmatch(line, -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", line, err)
		}
		figures[m[1]] = n
	}
	return figures, nil
}
