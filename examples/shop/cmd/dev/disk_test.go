package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/testenv"
)

// statusStoreFailed is the exit status that docs/operations.md promises.
const statusStoreFailed = 74

// traced starts the program under strace, which injects faults into system calls.
func (s shopAt) traced(inject string, args ...string) *process {
	s.t.Helper()
	trace := []string{"-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "inject=" + inject, binary, "--data", s.path}
	return startProcess(s.t, "strace", append(trace, args...)...)
}

// status waits for the program to end and returns its exit status.
func (p *process) status() int {
	p.t.Helper()
	for p.out.Scan() {
		continue
	}
	_ = p.cmd.Wait() // the status says it
	return p.cmd.ProcessState.ExitCode()
}

// After a failed sync, the operating system may have dropped the data: a process that
// tries again would acknowledge commands that are not on the disk.
func TestProcessEndsAfterAFailedSync(t *testing.T) {
	t.Parallel()
	testenv.Needs(t, "strace")
	random := randomSource(t)
	acknowledged := 0
	for round, which := range []string{"%d", "%d", "%d+", "%d+"} { // one failure, and all from one on
		s := newShop(t)
		s.run("show", "Products")                    // creates the database
		at := fmt.Sprintf(which, 40+random.IntN(60)) // a start has fewer
		p := s.traced("fsync,fdatasync:error=EIO:when="+at, "run", "--stdin")
		sent := 0
		send := func() { // the program may have ended
			sent++
			_, _ = fmt.Fprintf(p.in, `{"aggregate":"Product","command":"Add","id":"p%d","commandId":"c%d","data":{"name":"n","description":"","price":1}}`+"\n", sent, sent)
		}
		for range 4 {
			send()
		}
		var accepted []answer
		failed := 0
		for ; p.out.Scan(); send() {
			var a answer
			if err := json.Unmarshal(p.out.Bytes(), &a); err != nil {
				t.Fatalf("%q: %v", p.out.Text(), err)
			}
			if a.Error != "" {
				failed++
			} else if a.Kind == driver.Accepted {
				accepted = append(accepted, a)
			}
		}
		// The standard input is still open: the program has ended on its own.
		status, last := p.status(), lines(p.err.String())
		if status != statusStoreFailed || len(last) == 0 || !strings.Contains(last[len(last)-1], "error: the store has failed") || !strings.Contains(last[len(last)-1], s.path) {
			t.Errorf("round %d, sync %s: status %d, want %d and the reason in the last line of\n%s", round, at, status, statusStoreFailed, &p.err)
		}
		acknowledged += len(accepted)
		where := checkLog(t, s.commits())
		for _, a := range accepted {
			if _, ok := where[a.CommandID]; !ok {
				t.Errorf("round %d, sync %s: %s was acknowledged and is not in the log", round, at, a.CommandID)
			}
		}
		t.Logf("sync %s: %d commands acknowledged, %d failed, %d in the log", at, len(accepted), failed, len(where))
	}
	if acknowledged == 0 {
		t.Error("nothing was acknowledged before the failures")
	}
}

// A server that lives on after the failure answers UNAVAILABLE until somebody looks.
func TestServerEndsAfterAFailedSync(t *testing.T) {
	t.Parallel()
	testenv.Needs(t, "strace")
	s := newShop(t)
	s.run("show", "Products")
	p := s.traced("fsync,fdatasync:error=EIO:when=100+", "run", "--dev-users", "--addr", "127.0.0.1:0").serving()
	accepted := 0
	for {
		r := p.request(t.Context(), admin, fmt.Sprintf(`mutation { catalogProductAdd(id: "p%d", name: "n", description: "", price: 1) { __typename } }`, accepted), nil)
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			break // the server is gone
		}
		body, err := io.ReadAll(got.Body)
		if err != nil || strings.Contains(string(body), "UNAVAILABLE") || got.StatusCode != http.StatusOK {
			break
		}
		if !strings.Contains(string(body), "CommandAccepted") {
			t.Fatalf("got %s", body)
		}
		accepted++
	}
	if status := p.status(); status != statusStoreFailed {
		t.Errorf("status %d, want %d\n%s", status, statusStoreFailed, &p.err)
	}
	if n := len(s.commits()["Catalog.Product"]); n < accepted {
		t.Errorf("%d commands were acknowledged, %d are in the log", accepted, n)
	}
}

// Before, a server whose file was removed served on, also when nobody wrote.
func TestServerEndsWhenItsFileIsRemoved(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.serve()
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	if status := p.status(); status != statusStoreFailed || !strings.Contains(p.err.String(), "was removed or renamed") {
		t.Errorf("status %d, want %d and the reason\n%s", status, statusStoreFailed, &p.err)
	}
	if r := s.try("show", "Products"); r.status != 1 || !strings.Contains(r.err, "the database is missing") {
		t.Errorf("the next start: status %d, want 1 and the reason\n%s", r.status, r.err)
	}
}
