package local_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/testenv"
)

// TestMain fails if goroutines leak: every test closes its hosts.
func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	if code == 0 && !settledAt(before) {
		fmt.Fprintf(os.Stderr, "goroutines leak: %d before, %d after\n", before, runtime.NumGoroutine())
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
		code = 1
	}
	os.Exit(code)
}

// settledAt waits until at most n goroutines run: stopped goroutines end with a short
// delay.
func settledAt(n int) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); runtime.Gosched() {
		if runtime.NumGoroutine() <= n {
			return true
		}
	}
	return false
}

// patience bounds how long a test waits for an event. Only a failing test waits that
// long.
const patience = 2 * time.Minute

var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

func atOnce(int) time.Duration { return 0 }

// randomSource is seeded with REVENTLESS_SEED or a new seed, which it logs.
func randomSource(t *testing.T) *rand.Rand {
	t.Helper()
	seed, _ := testenv.Seed(t)
	return rand.New(rand.NewPCG(seed, 0))
}
