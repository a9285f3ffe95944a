package wycheproof

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"

	"intaglio.example/internal/jws"
)

// A vector is one test of any file: bytes in hex for the primitives, a token for the JOSE files.
type vector struct {
	ID      int             `json:"tcId"`
	Comment string          `json:"comment"`
	Result  string          `json:"result"` // valid, invalid or acceptable
	Msg     string          `json:"msg"`
	Sig     string          `json:"sig"`
	JWS     json.RawMessage `json:"jws"`
	JWE     json.RawMessage `json:"jwe"`
}

// bytes returns the message and the signature of a primitive's vector.
func (v vector) bytes(t *testing.T) (msg, sig []byte) {
	t.Helper()
	return unhex(t, v.Msg), unhex(t, v.Sig)
}

func unhex(t *testing.T, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// load reads the groups of a file into G, and makes sure that none of its tests is lost on the way.
func load[G any](t *testing.T, file string, tests func(G) []vector) []G {
	t.Helper()
	f, err := wycheproof.TestVectors.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var doc struct {
		NumberOfTests int `json:"numberOfTests"`
		TestGroups    []G `json:"testGroups"`
	}
	if err := json.NewDecoder(f).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, g := range doc.TestGroups {
		count += len(tests(g))
	}
	if count != doc.NumberOfTests || count == 0 {
		t.Fatalf("%s: read %d tests, the file says %d", file, count, doc.NumberOfTests)
	}
	return doc.TestGroups
}

// A tally counts how a file's vectors came out. Its JSON is what the acceptance program reads.
type tally struct {
	File            string         `json:"file"`
	Valid           int            `json:"valid"` // vectors the file calls valid
	ValidAccepted   int            `json:"valid_accepted"`
	Invalid         int            `json:"invalid"` // all others: we have no use for "acceptable"
	InvalidRefused  int            `json:"invalid_refused"`
	FalseAccepts    []int          `json:"false_accepts"`    // accepted though not valid, and no exception
	FalseRefusals   []int          `json:"false_refusals"`   // refused though valid, and no exception
	Exceptions      map[int]string `json:"exceptions"`       // by number, and why
	StaleExceptions []int          `json:"stale_exceptions"` // listed, but the vector came out as its file says
	Foreign         int            `json:"foreign"`          // valid elsewhere, with parameters JOSE does not allow: all refused
	HMAC            int            `json:"hmac"`             // of the vectors, those whose signature the HMAC stand-in checked
}

func newTally(file string) *tally {
	return &tally{File: file, FalseAccepts: []int{}, FalseRefusals: []int{}, StaleExceptions: []int{}, Exceptions: map[int]string{}}
}

// add counts a vector that was accepted (nil) or refused (err).
func (y *tally) add(v vector, err error) {
	valid, accepted := v.Result == "valid", err == nil
	if valid {
		y.Valid++
	} else {
		y.Invalid++
	}
	switch e, listed := exceptions[y.File][v.ID]; {
	case valid && accepted:
		y.ValidAccepted++
	case !valid && !accepted:
		y.InvalidRefused++
	case listed && e.accept == accepted:
		y.Exceptions[v.ID] = e.why
	case accepted:
		y.FalseAccepts = append(y.FalseAccepts, v.ID)
	default:
		y.FalseRefusals = append(y.FalseRefusals, v.ID)
	}
}

// finish prints the tally and fails the test if anything came out otherwise than written down.
func (y *tally) finish(t *testing.T) {
	t.Helper()
	for id := range exceptions[y.File] {
		if _, happened := y.Exceptions[id]; !happened {
			y.StaleExceptions = append(y.StaleExceptions, id)
		}
	}
	slices.Sort(y.StaleExceptions)
	line, err := json.Marshal(y)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("WYCHEPROOF %s\n", line)
	if len(y.FalseAccepts)+len(y.FalseRefusals)+len(y.StaleExceptions) > 0 {
		t.Errorf("%s: false accepts %v, false refusals %v, exceptions that did not happen %v", y.File, y.FalseAccepts, y.FalseRefusals, y.StaleExceptions)
	}
}

// code returns why something was refused, "" if it was not.
func code(t *testing.T, err error) jws.Code {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *jws.Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v, want a *jws.Error", err, err)
	}
	return e.Code
}
