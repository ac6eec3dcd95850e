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
	"strings"
	"syscall"
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
	// patience bounds how long a test waits for a process. Only a failing test waits
	// that long.
	patience = 5 * time.Minute
)

var (
	update = flag.Bool("update", false, "update the golden files")
	binary string // the program under test
)

func TestMain(m *testing.M) {
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

// randomSource is seeded with REVENTLESS_SEED or a new seed, which it logs.
func randomSource(t *testing.T) *rand.Rand {
	t.Helper()
	seed, _ := testenv.Seed(t)
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

// result is the output and the exit status of the program.
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

// run is try for a command that must succeed; it returns the output.
func (s shopAt) run(args ...string) string {
	s.t.Helper()
	r := s.try(args...)
	if r.status != 0 || r.err != "" {
		s.t.Fatalf("%q: status %d\n%s", args, r.status, r.err)
	}
	return r.out
}

// process is a running program: the shop or a client of its API.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err bytes.Buffer
}

// start starts the shop.
func (s shopAt) start(args ...string) *process {
	s.t.Helper()
	return startProcess(s.t, binary, append([]string{"--data", s.path}, args...)...)
}

// startProcess starts a program; it is killed when the test ends, if it still runs.
func startProcess(t *testing.T, program string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program, args...)}
	p.cmd.Stderr = &p.err
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 4<<20)
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("this test needs %s: %v", program, err)
	}
	hung := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	t.Cleanup(func() {
		hung.Stop()
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
	return p
}

// ask writes a line to the program's standard input.
func (p *process) ask(text string) {
	p.t.Helper()
	if _, err := p.in.Write([]byte(text + "\n")); err != nil {
		p.t.Fatalf("write: %v\n%s", err, &p.err)
	}
}

// line returns the next line of output; it fails the test at the end of the output.
func (p *process) line() string {
	p.t.Helper()
	if !p.out.Scan() {
		_ = p.cmd.Wait()
		p.t.Fatalf("the program ended: %v\n%s", p.cmd.ProcessState, &p.err)
	}
	return p.out.Text()
}

// end waits for the program, which must exit successfully.
func (p *process) end() {
	p.t.Helper()
	for p.out.Scan() {
		continue
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatalf("the program ended: %v\n%s", err, &p.err)
	}
}

// terminate sends SIGTERM without waiting for the program.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
}

// stop ends the program, which must exit successfully and log nothing.
func (p *process) stop() {
	p.t.Helper()
	p.terminate()
	p.end()
	if p.err.Len() > 0 {
		p.t.Errorf("the program logged:\n%.2000s", &p.err)
	}
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

// open opens the database in this process; no other process may have it open.
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
