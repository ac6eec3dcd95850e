package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
	"github.com/reventless-go/reventless/aws/internal/wiring"
)

// What the binary of all functions may weigh, and how long it may take from the
// start of its process until it asks for work.
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
	var inits []time.Duration
	for range 15 {
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
		inits = append(inits, r.Stats()["api"].Init...)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(inits)
	t.Logf("from process start to first poll of %d starts: quickest %v, median %v, slowest %v", len(inits), inits[0], inits[len(inits)/2], inits[len(inits)-1])
	if median := inits[len(inits)/2]; median > mostInit {
		t.Errorf("a start took %v, %v is the most", median, mostInit)
	}
}
