package main_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/examples/shop"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/local/sqlite"
)

const (
	testdata = "../../testdata"
	sample   = testdata + "/online-retail-sample.csv"
	// patience is how long a test waits for a process that should have ended or
	// answered: it is only ever used up by a fault.
	patience = time.Minute
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	binary string // the program under test
)

func TestMain(m *testing.M) {
	// One seed serves all tests; rapid prints its own when a test fails.
	checks := "40"
	if testenv.Long() {
		checks = "400"
	}
	for _, a := range os.Args {
		if strings.Contains(a, "test.short") {
			checks = "10"
		}
	}
	for name, value := range map[string]string{"rapid.checks": checks, "rapid.nofailfile": "true", "rapid.seed": os.Getenv("REVENTLESS_SEED")} {
		if value == "" {
			continue
		}
		if err := flag.Set(name, value); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dev")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "dev")
		build := exec.Command("go", "build", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "build:", err)
			return 1
		}
		return m.Run()
	}())
}

// randomSource is seeded by REVENTLESS_SEED, or anew; a test that fails says how.
func randomSource(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("REVENTLESS_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("REVENTLESS_SEED: %v", err)
		}
	}
	t.Logf("REVENTLESS_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// shopAt is the program on one database.
type shopAt struct {
	t    *testing.T
	path string
}

func newShop(t *testing.T) shopAt {
	t.Helper()
	return shopAt{t, filepath.Join(t.TempDir(), "shop.db")}
}

// result is how the program ended.
type result struct {
	args     []string
	out, err string
	status   int
}

// try runs the program to its end.
func (s shopAt) try(args ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append([]string{"--data", s.path}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		s.t.Fatalf("%q: %v %v\n%s", args, err, ctx.Err(), &errs)
	}
	return result{args, out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// run is try for what has to succeed; it returns the output.
func (s shopAt) run(args ...string) string {
	s.t.Helper()
	r := s.try(args...)
	if r.status != 0 || r.err != "" {
		s.t.Fatalf("%q: status %d\n%s", args, r.status, r.err)
	}
	return r.out
}

// refused is try for what has to fail with status 1, and a message with words.
func (s shopAt) refused(words []string, args ...string) {
	s.t.Helper()
	r := s.try(args...)
	if r.status != 1 || r.out != "" || !strings.HasPrefix(r.err, "error: ") || strings.Count(r.err, "\n") != 1 || len(r.err) > 2000 {
		s.t.Errorf("%.200q: got status %d, output %q, message %.300q; want status 1, and an error in one line of bounded length", args, r.status, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.err, w) {
			s.t.Errorf("%.200q: the message %q does not say %q", args, r.err, w)
		}
	}
}

// process is the program while it runs.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err bytes.Buffer
}

// start starts the program; it is killed when the test ends, if it still runs.
func (s shopAt) start(args ...string) *process {
	s.t.Helper()
	p := &process{t: s.t, cmd: exec.Command(binary, append([]string{"--data", s.path}, args...)...)}
	p.cmd.Stderr = &p.err
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		s.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 4<<20)
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	hung := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	s.t.Cleanup(func() {
		hung.Stop()
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// line returns the next line of output; the test ends when there is none.
func (p *process) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		_ = p.cmd.Wait()
		p.t.Fatalf("the program ended: %v\n%s", p.cmd.ProcessState, &p.err)
	}
	return p.out.Text()
}

// end waits for the end of the program, which has to be a good one.
func (p *process) end() (lines []string) {
	p.t.Helper()
	for p.out.Scan() {
		lines = append(lines, p.out.Text())
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the program ended: %v\n%s", err, &p.err)
	}
	return lines
}

// logs names the event logs of the shop.
func logs() (names []string) {
	for _, p := range shop.App().Topology().Plugins {
		for _, c := range p.Components {
			if c.Kind == "Aggregate" || c.Kind == "Counter" {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

// commits reads the database itself: all commits of each log, in order per stream.
func (s shopAt) commits() map[string][]driver.Commit {
	s.t.Helper()
	all := map[string][]driver.Commit{}
	s.open(func(p *sqlite.Provider) {
		for _, name := range logs() {
			log, err := p.OpenEventLog(s.t.Context(), name)
			if err != nil {
				s.t.Fatal(err)
			}
			for c, err := range log.Scan(s.t.Context(), 0, 1) {
				if err != nil {
					s.t.Fatal(err)
				}
				all[name] = append(all[name], c)
			}
		}
	})
	return all
}

// open opens the database in this process, while no other has it.
func (s shopAt) open(f func(*sqlite.Provider)) {
	s.t.Helper()
	p, err := sqlite.Open(s.t.Context(), s.path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	}()
	f(p)
}

// counts is how many commits each log has.
func (s shopAt) counts() map[string]int {
	s.t.Helper()
	n := map[string]int{}
	for log, commits := range s.commits() {
		n[log] = len(commits)
	}
	return n
}

// outbox returns the mails by file name.
func (s shopAt) outbox() map[string]string {
	s.t.Helper()
	dir := s.path + ".buckets/Ordering.Outbox"
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	mails := map[string]string{}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			s.t.Fatal(err)
		}
		mails[e.Name()] = string(text)
	}
	return mails
}

func lines(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return l == "" })
}
