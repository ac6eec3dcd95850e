package lambdarunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

func echo(c call) order { return order{Answer: c.Payload} }

func TestInvokeAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{Env: []string{"A=options", "B=options"}}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Env: []string{"B=function"}, Timeout: 7 * time.Second, Memory: 512, Concurrency: 1})
	for i := range 3 {
		want := fmt.Sprintf(`{"n":%d}`, i)
		got, err := b.Invoke(t.Context(), "f", []byte(want))
		if err != nil || string(got) != want {
			t.Fatalf("got %s, %v; want %s", got, err, want)
		}
	}
	calls := b.seen()
	if calls[0].PID != calls[2].PID {
		t.Errorf("the process did not stay warm: %d, then %d", calls[0].PID, calls[2].PID)
	}
	if left := calls[0].Left; left <= 0 || left > 7*time.Second {
		t.Errorf("the deadline is in %v, the timeout is 7s", left)
	}
	for name, want := range map[string]string{
		"A": "options", "B": "function", "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
		"AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "test", "HOME": "",
	} {
		if got := calls[0].Env[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	s := b.Stats()["f"]
	if s.Invocations != 3 || s.Failures != 0 || s.ColdStarts != 1 || len(s.Init) != 1 || s.Init[0] <= 0 || s.Busy <= 0 {
		t.Errorf("stats are %+v", s)
	}
	await(t, "what it printed", func() bool { return strings.Count(b.log.text(), "f: invoked\n") == 3 })
	if _, err := b.Invoke(t.Context(), "g", nil); err == nil {
		t.Error("a function that is not there was invoked")
	}
	if _, err := b.Invoke(t.Context(), "f", []byte("{")); err == nil {
		t.Error("a payload that is no JSON was taken")
	}
}

func TestInvocationsThatFail(t *testing.T) {
	t.Parallel()
	do := func(c call) order {
		var o order
		if err := json.Unmarshal(c.Payload, &o); err != nil {
			t.Error(err)
		}
		return o
	}
	for _, test := range []struct {
		payload, kind, message string
		restarted              bool
	}{
		{`{"error":"no"}`, "errorString", "no", false},
		{`{"broken":true}`, "errorString", "broken", false},
		{`{"panic":true}`, "string", "as it was told", true},
		{`{"exit":true}`, "Runtime.ExitError", "exit status 1", true},
		{`{"hang":true}`, "Sandbox.Timedout", "timed out after 1.00 seconds", true},
	} {
		t.Run(test.payload, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, lambdarunner.Options{}, false, do)
			b.function(lambdarunner.Function{Name: "f", Timeout: time.Second, Concurrency: 1})
			_, err := b.Invoke(t.Context(), "f", []byte(test.payload))
			var failed *lambdarunner.FunctionError
			if !errors.As(err, &failed) || failed.Type != test.kind || !strings.Contains(failed.Message, test.message) {
				t.Fatalf("got %v", err)
			}
			if _, err := b.Invoke(t.Context(), "f", []byte(`{"answer":1}`)); err != nil {
				t.Fatal(err)
			}
			calls := b.seen()
			if len(calls) != 2 {
				t.Fatalf("%d invocations arrived", len(calls))
			}
			if restarted := calls[0].PID != calls[1].PID; restarted != test.restarted {
				t.Errorf("restarted: %v", restarted)
			}
			if test.restarted && alive(calls[0].PID) {
				t.Error("the process is still there")
			}
		})
	}
}

func TestFunctionThatDoesNotStart(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Env: []string{"TEST_INIT=exit"}})
	_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
	var failed *lambdarunner.FunctionError
	if !errors.As(err, &failed) || failed.Type != "Runtime.ExitError" || !strings.Contains(failed.Message, "exit status 3") {
		t.Fatalf("got %v", err)
	}
	if s := b.Stats()["f"]; s.Invocations != 0 || s.Failures != 1 || s.Exits != s.ColdStarts || len(s.Init) != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestConcurrencyBoundsProcesses(t *testing.T) {
	t.Parallel()
	both := make(chan struct{}, 2)
	b := newBench(t, lambdarunner.Options{}, false, func(c call) order {
		// The first two go on only when they are two.
		if len(c.Payload) < 3 {
			both <- struct{}{}
			for len(both) < 2 {
				runtime.Gosched()
			}
		}
		return echo(c)
	})
	b.function(lambdarunner.Function{Name: "f", Concurrency: 2})
	errs := make(chan error)
	for range 2 {
		go func() {
			_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		go func() {
			_, err := b.Invoke(t.Context(), "f", []byte(`{"more":1}`))
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	pids := map[int]bool{}
	for _, c := range b.seen() {
		pids[c.PID] = true
	}
	if len(pids) != 2 {
		t.Errorf("%d processes", len(pids))
	}
}

// What a function leaves running stands still until the next invocation.
func TestProcessIsFrozenBetweenInvocations(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the state of a process is read from /proc")
	}
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Concurrency: 1})
	for range 2 {
		if _, err := b.Invoke(t.Context(), "f", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		await(t, "the process stopped", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.seen()[0].PID))
			if err != nil {
				t.Fatal(err)
			}
			_, state, _ := strings.Cut(string(text), ") ")
			return strings.HasPrefix(state, "T")
		})
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	t.Parallel()
	began := make(chan call, 1)
	b := newBench(t, lambdarunner.Options{}, false, func(c call) order {
		began <- c
		return order{Hang: true}
	})
	b.function(lambdarunner.Function{Name: "f"})
	failed := make(chan error, 1)
	go func() {
		_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
		failed <- err
	}()
	c := <-began
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, lambdarunner.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if alive(c.PID) {
		t.Error("the process is still there")
	}
	if _, err := b.Invoke(t.Context(), "f", []byte(`{}`)); !errors.Is(err, lambdarunner.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestInvokeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	b := newBench(t, lambdarunner.Options{}, false, func(call) order {
		began <- struct{}{}
		return order{Hang: true}
	})
	b.function(lambdarunner.Function{Name: "f"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := b.Invoke(ctx, "f", []byte(`{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestFunctionIsToldOfItsEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Env: []string{"TEST_SIGTERM=1"}})
	if _, err := b.Invoke(t.Context(), "f", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byes != 1 {
		t.Errorf("it was told %d times", b.byes)
	}
}

func TestProcessesEndWithTheRunnersProcess(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a child with its parent")
	}
	began := make(chan call, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var c call
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			t.Error(err)
		}
		began <- c
		<-r.Context().Done()
	}))
	defer server.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ORPHAN="+server.URL)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := <-began
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	await(t, "the function's process ended", func() bool { return !alive(c.PID) })
}

// With one process at a time faults are the same for the same seed.
func TestFaultsRepeatWithTheirSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		b := newBench(t, lambdarunner.Options{Seed: seed, Faults: lambdarunner.Faults{LoseAnswer: 0.3, Throttle: 0.2, Kill: 0.1}}, false, echo)
		b.function(lambdarunner.Function{Name: "f", Concurrency: 1})
		var what strings.Builder
		for range 40 {
			_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
			var failed *lambdarunner.FunctionError
			switch {
			case err == nil:
				what.WriteByte('.')
			case errors.Is(err, lambdarunner.ErrAnswerLost):
				what.WriteByte('l')
			case errors.Is(err, lambdarunner.ErrThrottled):
				what.WriteByte('t')
			case errors.As(err, &failed):
				what.WriteByte('k')
			default:
				t.Fatal(err)
			}
		}
		s := b.Stats()["f"]
		got := what.String()
		if s.LostAnswers != strings.Count(got, "l") || s.Throttles != strings.Count(got, "t") || s.Kills != strings.Count(got, "k") {
			t.Errorf("%s, but stats are %+v", got, s)
		}
		if s.Invocations != 40-s.Throttles || s.Failures != s.LostAnswers+s.Kills || s.ColdStarts != 1+s.Kills && s.ColdStarts != s.Kills {
			t.Errorf("stats are %+v", s)
		}
		return got
	}
	first, second, other := run(1), run(1), run(2)
	if first != second || first == other {
		t.Errorf("faults are\n%s with a seed,\n%s with it again,\n%s with another one", first, second, other)
	}
	for _, fault := range "ltk." {
		if !strings.ContainsRune(first, fault) {
			t.Errorf("%s has no %c", first, fault)
		}
	}
}

func TestWrongDeclarations(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f"})
	for _, f := range []lambdarunner.Function{
		{}, {Name: "f"}, {Name: "g", Timeout: time.Hour}, {Name: "g", Concurrency: -1}, {Name: "g", Env: []string{"A=" + strings.Repeat("a", 4096)}},
	} {
		if err := b.Function(f); err == nil {
			t.Errorf("taken: %.100v", f)
		}
	}
	if err := b.Queue("f", "http://q/q.fifo", "arn", lambdarunner.QueueMapping{}); err == nil {
		t.Error("a queue was mapped without a client")
	}
	if err := b.Stream("f", "table", lambdarunner.StreamMapping{}); err == nil {
		t.Error("a stream was mapped without a client")
	}
	if s := b.Stats(); len(s) != 1 || s["f"].ColdStarts != 0 {
		t.Errorf("stats are %v", s)
	}
}
