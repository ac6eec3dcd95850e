package e2e

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// How large the functions' binary may be, and how long it may take from the start
// of its process to its first poll.
const (
	mostBytes = 15 << 20
	mostInit  = 20 * time.Millisecond
)

func TestBinaryIsSmall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bootstrap")
	if err := build(path, "arm64"); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f MiB for arm64, stripped", float64(info.Size())/(1<<20))
	if info.Size() > mostBytes {
		t.Errorf("the binary has %d bytes, %d are the most", info.Size(), mostBytes)
	}
}

func TestBinaryStartsQuickly(t *testing.T) {
	binary, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine delays most starts, so the quickest one counts.
	quickest := time.Duration(math.MaxInt64)
	for n := 0; n < 100 && quickest > mostInit; n++ {
		r, err := lambdarunner.New(lambdarunner.Options{Binary: binary, Region: "eu-central-1", Account: "000000000000"})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Function(lambdarunner.Function{Name: "api", Env: []string{
			wiring.EnvFunction + "=api", wiring.EnvStack + "=dev", wiring.EnvAccount + "=000000000000", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		}})
		if err == nil {
			r.Start()
			_, err = r.Invoke(t.Context(), "api", []byte(`{"operation":"?"}`))
		}
		if err != nil {
			t.Fatal(err)
		}
		quickest = min(quickest, slices.Min(r.Stats()["api"].Init))
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("from process start to first poll: %v", quickest)
	if quickest > mostInit {
		t.Errorf("the quickest start took %v, %v is the most", quickest, mostInit)
	}
}
