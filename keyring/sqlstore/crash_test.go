package sqlstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"intaglio.example/internal/secret"
	"intaglio.example/keyring"
	"intaglio.example/keyring/storetest"
)

// lively returns a store in which one edit touches every table: it makes an issuer, records a kid, archives a key.
func lively(t testing.TB) (*Store, keyring.Changes, keyring.Edit) {
	t.Helper()
	m := mustInit(t, benchmarkRings(2))
	s := m.open(t)
	change(t, s, func(rings map[string]*keyring.Ring) { storetest.Move(rings["acme/r1"].Key(1), keyring.Revoked) })
	change(t, s, func(rings map[string]*keyring.Ring) { rings["acme/r1"].Key(1).Destroy = when })
	change(t, s, func(rings map[string]*keyring.Ring) { rings["acme/r1"].Key(1).Destroyed = when })
	before := everything(t, s)
	next := everything(t, s)
	storetest.Move(next.Rings[0].Key(1), keyring.Staged)
	next.Rings[1].Keys = nil
	return s, before, keyring.Edit{Issuers: []keyring.Issuer{storetest.Issuer("other")}, Rings: next.Rings, Grants: []keyring.Grant{storetest.Grant("ann")}}
}

// TestWriteBreaksOff: wherever a write fails, nothing of it stays, and the next one succeeds.
func TestWriteBreaksOff(t *testing.T) {
	for _, table := range []string{"records", "kids", "archive", "entries", "history", "head"} {
		t.Run(table, func(t *testing.T) {
			s, before, edit := lively(t)
			verb := "INSERT"
			if table == "head" {
				verb = "UPDATE"
			}
			if _, err := s.writer.Exec(fmt.Sprintf(`CREATE TRIGGER fault BEFORE %s ON %s BEGIN SELECT RAISE(ABORT, 'the disk is on fire'); END`, verb, table)); err != nil {
				t.Fatal(err)
			}
			if at, err := s.Swap(t.Context(), before.Position, edit); err == nil || at != (keyring.Position{}) || !strings.Contains(err.Error(), "the disk is on fire") {
				t.Fatalf("Swap: %v, %v", at, err)
			}
			if table != "records" && table != "kids" && table != "archive" {
				if _, err := s.Cut(t.Context(), cutoff("op-1", "acme/r0")); err == nil {
					t.Fatal("Cut succeeded")
				}
			}
			if after := everything(t, s); !reflect.DeepEqual(before, after) {
				t.Errorf("the write left\n%+v, before it was\n%+v", after, before)
			}
			if _, err := s.Verify(t.Context()); err != nil {
				t.Errorf("Verify: %v", err)
			}
			if _, err := s.writer.Exec(`DROP TRIGGER fault`); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Swap(t.Context(), before.Position, edit); err != nil {
				t.Errorf("Swap once more: %v", err)
			}
			if r, err := s.Verify(t.Context()); err != nil || r.Archived != 1 || r.Kids != 1 || r.Issuers != 2 {
				t.Errorf("Verify: %+v, %v", r, err)
			}
		})
	}
}

func TestDatabaseFull(t *testing.T) {
	s, before, edit := lively(t)
	var pages int
	if err := s.writer.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if _, err := s.writer.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages)); err != nil {
		t.Fatal(err)
	}
	edit.Rings[0].Labels = map[string]string{"long": strings.Repeat("x", 100_000)}
	if _, err := s.Swap(t.Context(), before.Position, edit); err == nil || !strings.Contains(err.Error(), "the database is full") {
		t.Errorf("Swap: %v", err)
	}
	if after := everything(t, s); !reflect.DeepEqual(before, after) {
		t.Error("a write that found no room left something")
	}
	if _, err := s.Verify(t.Context()); err != nil {
		t.Errorf("Verify: %v", err)
	}
}

// TestKilled kills a process with SIGKILL while it writes, many times, and looks at what it leaves. Run with a path in its
// environment, it is that process.
func TestKilled(t *testing.T) {
	const variable = "INTAGLIO_TEST_KILLED"
	key := secret.New([]byte(strings.Repeat("k", keyLen)))
	if path := os.Getenv(variable); path != "" {
		writeForever(t, path, key)
		return
	}
	m := mustInitWith(t, key, benchmarkRings(3))
	confirmed := 0
	for round := range 6 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		cmd.Env = append(os.Environ(), variable+"="+m.path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var last keyring.Revision
		lines := bufio.NewScanner(out)
		for n := 0; n < 5+7*round && lines.Scan(); n++ { // each line is a revision that a write has returned
			if _, err := fmt.Sscan(lines.Text(), &last); err != nil {
				t.Fatalf("the process says %q", lines.Text())
			}
			confirmed++
		}
		time.Sleep(time.Duration(round) * 300 * time.Microsecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		s := m.open(t)
		r, err := s.Verify(t.Context())
		if err != nil || r.Position.Revision < last {
			t.Fatalf("killed after revision %d was confirmed; Verify: %+v, %v", last, r, err)
		}
		closeStore(t, s)
	}
	if confirmed < 50 {
		t.Errorf("only %d writes were confirmed", confirmed)
	}
}

func writeForever(t *testing.T, path string, key secret.Bytes) {
	s, err := Open(t.Context(), path, key)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		c := everything(t, s)
		for r := range c.Rings {
			if ring := &c.Rings[r]; len(ring.Keys) > 0 && ring.Keys[0].State < keyring.Retired {
				storetest.Move(&ring.Keys[0], ring.Keys[0].State+1)
			}
		}
		at, err := s.Swap(t.Context(), c.Position, keyring.Edit{Rings: c.Rings})
		if i%3 == 0 && err == nil {
			at, err = s.Cut(t.Context(), cutoff(fmt.Sprintf("op-%d-%d", os.Getpid(), i), "acme/none"))
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(uint64(at.Revision))
	}
}

// TestTwoProcesses: what one store's turn cannot order, the database does.
func TestTwoProcesses(t *testing.T) {
	m := mustInit(t, benchmarkRings(1))
	stores := []*Store{m.open(t), m.open(t)}
	begin := everything(t, stores[0]).Position
	const each = 15
	var wg sync.WaitGroup
	var unsure atomic.Int64 // swaps that gave way to a cutoff, on a slow machine: each may have been committed or not
	for n, s := range stores {
		wg.Go(func() {
			for done := 0; done < each; {
				c, err := s.Changes(context.Background(), keyring.Position{})
				if err == nil {
					_, err = s.Swap(context.Background(), c.Position, keyring.Edit{Rings: c.Rings})
				}
				switch {
				case err == nil:
					done++
				case errors.Is(err, errGaveWay):
					unsure.Add(1)
				case !errors.Is(err, keyring.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for i := range each {
				if _, err := s.Cut(context.Background(), cutoff(fmt.Sprintf("op-%d-%d", n, i), "acme/none")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r, err := stores[1].Verify(t.Context())
	least := begin.Revision + 4*each
	if err != nil || r.Position.Revision < least || r.Position.Revision > least+keyring.Revision(unsure.Load()) || r.Cutoffs != 2*each {
		t.Errorf("Verify: %+v, %v", r, err)
	}
}
