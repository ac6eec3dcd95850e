// Command gotest runs "go test" in several modules, one after the other, prints what
// "go test" prints, and adds the ten slowest tests and a last line with the totals:
//
//	123 passed, 0 failed, 4 skipped
//
// Each argument is one run: the module's folder, then the arguments of "go test",
// separated by spaces. Subtests count as tests. The status is 1 if a test failed or if
// tests are left out because of REVENTLESS_WITHOUT (see package internal/testenv).
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

func main() {
	s := newSummary(os.Stdout, os.Getenv("REVENTLESS_WITHOUT"))
	for _, run := range os.Args[1:] {
		if err := s.run(strings.Fields(run)); err != nil {
			fmt.Fprintf(os.Stderr, "gotest: %s: %v\n", run, err)
			os.Exit(1)
		}
	}
	if !s.print() {
		os.Exit(1)
	}
}

// summary has the results of all runs.
type summary struct {
	out                     io.Writer
	passed, failed, skipped int
	// seconds has the time of each test. Parallel subtests run after the body of their
	// test, so its time is at least that of the longest subtest.
	seconds map[string]float64
	without []string // the programs whose tests are left out
	leftOut int      // how many of the skipped tests are left out
}

func newSummary(out io.Writer, without string) *summary {
	return &summary{out: out, seconds: map[string]float64{}, without: strings.Fields(without)}
}

// run runs "go test" with args[1:] in folder args[0].
func (s *summary) run(args []string) error {
	command := "go test " + strings.Join(args[1:], " ")
	fmt.Fprintf(s.out, "-- %s: %s\n", args[0], command)
	cmd := exec.Command("go", append([]string{"test", "-json"}, args[1:]...)...)
	cmd.Dir, cmd.Stderr = args[0], os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	began, failed := time.Now(), s.failed
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := s.read(events); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil && s.failed == failed {
		s.failed++ // no test reported the failure
	}
	fmt.Fprintf(s.out, "-- %s: %s: %.0f s\n", args[0], command, time.Since(began).Seconds())
	return nil
}

// event is a line of "go test -json"; "go doc test2json" describes it.
type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

// leftOut is the message of package internal/testenv when it skips a test.
const leftOut = "left out: needs "

// read reads the events of a run and prints what "go test" prints without -v.
func (s *summary) read(r io.Reader) error {
	type key struct{ pkg, test string }
	output := map[key][]string{} // of tests that have not ended
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			fmt.Fprintln(s.out, lines.Text()) // from the go command itself
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			fmt.Fprint(s.out, e.Output)
		case "output":
			if e.Test != "" || !strings.HasPrefix(e.Output, "ok ") && !strings.HasPrefix(e.Output, "? ") {
				output[k] = append(output[k], e.Output)
			} else {
				fmt.Fprint(s.out, e.Output)
			}
		case "pass", "skip", "fail":
			text := output[k]
			delete(output, k)
			if e.Test != "" {
				s.count(e, text)
			}
			if e.Action != "fail" {
				continue
			}
			s.show(text)
			if e.Test != "" {
				continue
			}
			for other, text := range output { // tests that had not ended when the package ended
				if other.pkg == e.Package {
					s.failed++
					s.show(text)
					delete(output, other)
				}
			}
		}
	}
	return lines.Err()
}

// show prints the output of a failed test or package, starting with the result.
func (s *summary) show(output []string) {
	if i := slices.IndexFunc(output, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "--- ") }); i > 0 {
		result := output[i]
		output = slices.Insert(slices.Delete(output, i, i+1), 0, result)
	}
	for _, l := range output {
		if !strings.HasPrefix(l, "=== ") && l != "PASS\n" {
			fmt.Fprint(s.out, l)
		}
	}
}

// count counts a test that has ended.
func (s *summary) count(e event, output []string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
	case "skip":
		s.skipped++
		if strings.Contains(strings.Join(output, ""), leftOut) {
			s.leftOut++
		}
	}
	test, _, _ := strings.Cut(e.Test, "/")
	name := e.Package + "." + test
	s.seconds[name] = max(s.seconds[name], e.Elapsed)
}

// print prints the summary and reports whether all tests ran and none failed.
func (s *summary) print() bool {
	slowest := slices.SortedFunc(maps.Keys(s.seconds), func(a, b string) int {
		return cmp.Or(cmp.Compare(s.seconds[b], s.seconds[a]), cmp.Compare(a, b))
	})
	if len(slowest) > 0 {
		fmt.Fprintln(s.out, "-- the slowest tests")
	}
	for _, name := range slowest[:min(10, len(slowest))] {
		fmt.Fprintf(s.out, "%8.2f s  %s\n", s.seconds[name], name)
	}
	if len(s.without) > 0 {
		fmt.Fprintf(s.out, "left out: %d tests that need %s; make test INSTALL=1 installs it\n", s.leftOut, strings.Join(s.without, ", "))
	}
	fmt.Fprintf(s.out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	return s.failed == 0 && len(s.without) == 0
}
