package sqlite

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"sync/atomic"
	"testing"
	"time"
)

// roleVariable makes the test binary run a role instead of the tests.
const roleVariable = "REVENTLESS_SQLITE_TEST_ROLE"

var roles = map[string]func(path string){"hold": holdRole}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		roles[role](os.Args[len(os.Args)-1])
		return
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settledAt(before) {
		fmt.Fprintf(os.Stderr, "goroutines leak: %d before, %d after\n", before, runtime.NumGoroutine())
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// settledAt waits until at most n goroutines run.
func settledAt(n int) bool {
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if runtime.NumGoroutine() <= n {
			return true
		}
	}
	return false
}

// process is another process that runs a role.
type process struct {
	*exec.Cmd
	out  *bufio.Scanner
	pipe io.Closer
}

func start(t *testing.T, role, path string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, out: bufio.NewScanner(out), pipe: out}
	t.Cleanup(func() { p.kill() })
	return p
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	if p.ProcessState == nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

// line waits for the next line of output.
func (p *process) line(t *testing.T) {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("the other process ended: %v", p.out.Err())
	}
}

// fail ends a process in a role with an error.
func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// testClock is a clock that moves only when it is advanced.
type testClock struct{ nanos atomic.Int64 }

func newTestClock() *testClock {
	c := &testClock{}
	c.nanos.Store(time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *testClock) Now() time.Time                { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *testClock) seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
func (c *testClock) advance(seconds int64)         { c.nanos.Add(int64(c.seconds(seconds))) }
