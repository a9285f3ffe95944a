// Command bench measures what a token costs over mutual TLS, beside the bare signature that it cannot do without. Server,
// clients and the bare signatures share the machine's cores and take turns in one run, so only the ratios say something.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"intaglio.example/test/acceptance/internal/accept"
	"intaglio.example/test/acceptance/internal/devserver"
)

// The bars that this program holds ES256 against, chosen for two cores. They stand nowhere else.
const (
	batchBar  = 85.0 // % of bare signing on all cores
	singleBar = 45.0
)

const (
	callers   = 64
	batchSize = 64
	claims    = `{"sub":"alice","aud":"` + devserver.Audience + `","client_id":"bench","scope":"read write","tenant":"t-1029"}`
)

var (
	rounds = flag.Int("rounds", 5, "how often each measurement takes its turn; the median counts")
	length = flag.Duration("length", 3*time.Second, "how long one turn is")
	only   = flag.String("alg", "", "measure one algorithm only")
)

func main() {
	flag.Parse()
	accept.Run("bench", "what a token costs beside its bare signature", show)
}

func show(r *accept.Report) error {
	s, cleanup, err := devserver.Fresh(r)
	if err != nil {
		return err
	}
	defer cleanup()
	r.Ran("median of %d interleaved turns of %v each; %d cores for server, clients and bare signing", *rounds, *length, runtime.NumCPU())
	for _, alg := range []string{"ES256", "EdDSA", "RS256"} {
		if *only != "" && *only != alg {
			continue
		}
		if err := measure(r, s, alg); err != nil {
			return fmt.Errorf("%s: %w", alg, err)
		}
	}
	return nil
}

// measure lets bare signing, batches and single calls take turns, and reports their medians.
func measure(r *accept.Report, s *devserver.Server, alg string) error {
	c, err := newClients(s)
	if err != nil {
		return err
	}
	defer c.close()
	ring, err := c.ring(alg)
	if err != nil {
		return err
	}
	bare, err := newBare(alg)
	if err != nil {
		return err
	}
	single := func(ctx context.Context) (int, error) { return 1, c.signToken(ctx, ring) }
	batch := func(ctx context.Context) (int, error) { return batchSize, c.signBatch(ctx, ring) }
	var raw, one, many []turn
	for range *rounds {
		for _, m := range []struct {
			into    *[]turn
			workers int
			call    func(context.Context) (int, error)
			served  bool
		}{{&raw, runtime.NumCPU(), bare, false}, {&one, callers, single, true}, {&many, 2 * runtime.NumCPU(), batch, true}} {
			t, err := takeTurn(s, m.workers, m.call, m.served)
			if err != nil {
				return err
			}
			*m.into = append(*m.into, t)
		}
	}
	report(r, alg, median(raw), median(one), median(many))
	return nil
}

func report(r *accept.Report, alg string, raw, one, many turn) {
	r.Note("%s bare signing, all cores:      %8.0f /s   %v of processor time", alg, raw.rate, raw.cpu)
	r.Note("%s SignToken, %d callers:        %8.0f /s   %v of processor time   p50 %v   p99 %v   %.0f allocations a token", alg, callers, one.rate, one.cpu, one.p50, one.p99, one.allocs)
	r.Note("%s BatchSignTokens(%d):          %8.0f /s   %v of processor time   p50 %v   p99 %v   %.0f allocations a token", alg, batchSize, many.rate, many.cpu, many.p50, many.p99, many.allocs)
	ofBatch, ofOne := 100*many.rate/raw.rate, 100*one.rate/raw.rate
	if alg != "ES256" {
		r.Note("%s ratios: BatchSignTokens %.0f %%, SignToken %.0f %% of bare signing", alg, ofBatch, ofOne)
		return
	}
	r.AtLeast("ES256 BatchSignTokens(64) of bare signing", ofBatch, batchBar, "%")
	r.AtLeast("ES256 SignToken of bare signing", ofOne, singleBar, "%")
}

// turn is what one measurement saw.
type turn struct {
	rate     float64 // tokens a second
	p50, p99 time.Duration
	allocs   float64       // of the server, a token
	cpu      time.Duration // of clients and server together, a token: what does not change when others use the machine
}

// takeTurn has workers call until the turn is over.
func takeTurn(s *devserver.Server, workers int, call func(context.Context) (int, error), served bool) (turn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), *length+30*time.Second)
	defer cancel()
	type outcome struct {
		tokens int
		took   []time.Duration
		err    error
	}
	before, err := mallocs(s, served)
	if err != nil {
		return turn{}, err
	}
	cpuBefore, err := cpuTime(s)
	if err != nil {
		return turn{}, err
	}
	began := time.Now()
	results := make(chan outcome)
	for range workers {
		go func() {
			var o outcome
			for time.Since(began) < *length && o.err == nil {
				at := time.Now()
				n, err := call(ctx)
				o.took, o.tokens, o.err = append(o.took, time.Since(at)), o.tokens+n, err
			}
			results <- o
		}()
	}
	var all outcome
	for range workers {
		o := <-results
		all.tokens, all.took = all.tokens+o.tokens, append(all.took, o.took...)
		if o.err != nil {
			all.err = o.err
		}
	}
	if all.err != nil {
		return turn{}, all.err
	}
	elapsed := time.Since(began)
	cpuAfter, err := cpuTime(s)
	if err != nil {
		return turn{}, err
	}
	after, err := mallocs(s, served)
	if err != nil {
		return turn{}, err
	}
	slices.Sort(all.took)
	return turn{
		rate: float64(all.tokens) / elapsed.Seconds(),
		p50:  all.took[len(all.took)/2].Round(time.Microsecond), p99: all.took[len(all.took)*99/100].Round(time.Microsecond),
		allocs: (after - before) / float64(all.tokens),
		cpu:    (cpuAfter - cpuBefore) / time.Duration(all.tokens),
	}, nil
}

// cpuTime is how much processor time this process and the server have had, from /proc, in hundredths of a second.
func cpuTime(s *devserver.Server) (time.Duration, error) {
	var total time.Duration
	for _, pid := range []int{os.Getpid(), s.PID()} {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, proc(5)
			n, err := strconv.Atoi(f)
			if err != nil {
				return 0, err
			}
			total += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return total, nil
}

func median(turns []turn) turn {
	slices.SortFunc(turns, func(a, b turn) int { return int(a.rate - b.rate) })
	return turns[len(turns)/2]
}

// mallocs reads how many heap objects the server has allocated since it started.
func mallocs(s *devserver.Server, served bool) (float64, error) {
	if !served {
		return 0, nil
	}
	res, err := http.Get(s.HTTP + "/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "go_memstats_mallocs_total "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, fmt.Errorf("no go_memstats_mallocs_total in /metrics: %v", lines.Err())
}
