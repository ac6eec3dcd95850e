package testenv_test

import (
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

func TestNeedsSkipsWhatIsLeftOut(t *testing.T) {
	t.Setenv(testenv.WithoutVariable, "chromium node")
	for name, want := range map[string]bool{"node": true, "chromium": true, "python3": false, "chrom": false} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Skipped() != want {
					t.Errorf("skipped: got %v, want %v", t.Skipped(), want)
				}
			})
			testenv.Needs(t, name)
		})
	}
}
