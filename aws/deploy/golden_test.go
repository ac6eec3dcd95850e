package deploy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
)

// The golden files show a reviewer the effect of a change: everything that an update
// registers, and the properties whose values are unknown in a preview.
func TestGraphOfTheShop(t *testing.T) {
	t.Parallel()
	of := func(preview bool) string {
		opts := &deploytest.Options{Preview: preview}
		got := graph(t, shop(t), nil, opts).String()
		if again := graph(t, shop(t), nil, opts).String(); again != got {
			t.Errorf("a second run has a different graph:\n%s", strings.Join(diff(got, again), "\n"))
		}
		return got
	}
	updated, previewed := of(false), of(true)
	if a, b := strings.Count(updated, "\n"), strings.Count(previewed, "\n"); a != b {
		t.Errorf("the graph of an update has %d lines, that of a preview %d", a, b)
	}
	unknown := slices.DeleteFunc(diff(updated, previewed), func(line string) bool { return strings.HasPrefix(line, "-") })
	for name, got := range map[string]string{"shop.golden": updated, "shop.preview.golden": strings.Join(unknown, "\n") + "\n"} {
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
			t.Errorf("%s differs (go test -update writes it):\n%s", name, strings.Join(d, "\n"))
		}
	}
}

// diff returns the lines that are in only one of the texts, with their resource. The
// texts are sorted, so this is enough.
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
