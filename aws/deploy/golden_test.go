package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
)

// The golden files are what a reviewer sees of a change.
func TestGraphOfTheShop(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		opts deploytest.Options
	}{
		"shop.golden":         {},
		"shop.preview.golden": {opts: deploytest.Options{Preview: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := graph(t, shop(t), nil, &c.opts).String()
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if d := diff(string(want), got); len(d) > 0 {
				t.Errorf("the graph is another one (go test -update writes it anew):\n%s", strings.Join(d, "\n"))
			}
			if again := graph(t, shop(t), nil, &c.opts).String(); again != got {
				t.Errorf("a second run has another graph:\n%s", strings.Join(diff(got, again), "\n"))
			}
		})
	}
}

// diff returns the lines that are in one text only, with the resource that they are
// of: enough of a difference between texts that are sorted.
func diff(a, b string) []string {
	in := func(text string) (lines []string, set map[string]bool) {
		set = map[string]bool{}
		of := ""
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			if !strings.HasPrefix(line, "  ") {
				of, line = line, "resource"
			}
			line = of + ": " + strings.TrimSpace(line)
			lines, set[line] = append(lines, line), true
		}
		return lines, set
	}
	left, inLeft := in(a)
	right, inRight := in(b)
	var out []string
	for _, l := range left {
		if !inRight[l] {
			out = append(out, "- "+l)
		}
	}
	for _, l := range right {
		if !inLeft[l] {
			out = append(out, "+ "+l)
		}
	}
	return out
}
