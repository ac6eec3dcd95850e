//go:build linux

package powerloss

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

// faults are the system calls that fail, with the errors that a disk has for them.
var faults = []struct {
	calls  string
	errors []string
}{
	{"fsync,fdatasync", []string{"EIO", "ENOSPC"}},
	{"pwrite64", []string{"EIO", "ENOSPC"}},
	{"pread64", []string{"EIO"}},
	{"ftruncate", []string{"EIO"}},
	{"openat,open", []string{"EIO", "EMFILE"}},
	{"write", []string{"ENOSPC"}},
	{"renameat,unlink,unlinkat,mkdirat", []string{"EIO"}},
}

// failing records a life in which system calls fail, and checks what a restart and what a
// power failure find. It returns whether a call failed.
func failing(t *testing.T, all checkers, random *rand.Rand, r *recording, l life, inject ...string) bool {
	t.Helper()
	before := len(r.events)
	ended := r.record(t, l, inject...)
	if err := r.same(); err != nil {
		t.Errorf("%v: the recording is not what happened: %v", inject, err)
		return false
	}
	lost := false // a sync of the write-ahead log failed
	for _, e := range r.events[before:] {
		lost = lost || e.kind == "failed" && strings.HasSuffix(e.path, "-wal") && strings.HasPrefix(e.path, l.Path+"-")
	}
	if lost && ended == nil {
		t.Errorf("%v: a sync of the write-ahead log failed, and the process did not", inject)
	}
	last := len(r.events) - 1
	if last < before { // the process did not get far
		return ended != nil
	}
	places := append(r.places(random, before, 1), place{last, "everything"}, place{last, "nothing"})
	for _, p := range r.images(t, all, random.Uint64(), places, 10) {
		t.Errorf("%v, %d acknowledged, ended with %.300v: %s", inject, len(r.acks), ended, p)
	}
	return ended != nil
}

func TestFailedCallsLoseNothingAcknowledged(t *testing.T) {
	testenv.Needs(t, "strace")
	rounds := 2
	switch {
	case testenv.Long():
		rounds = 50
	case raceEnabled:
		rounds = 1
	}
	seed, all := randomSeed(t), newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	base := newRecording(folder(t))
	l := life{Path: filepath.Join(base.root, databaseName), Name: "base", Senders: senders, Count: 4}
	base.run(t, l)
	l.Name = "fault"
	n, ended := 0, 0
	for range rounds {
		for _, f := range faults {
			for _, e := range f.errors {
				// On an empty directory, after a crash, or after a Close; once, or from then on.
				from := []int{0, len(base.events) / 4 * (2 + random.IntN(2)), len(base.events)}[random.IntN(3)]
				r := base.kill(t, from)
				l.Again = r.unanswered()
				l.Again = l.Again[:min(3, len(l.Again))]
				when := fmt.Sprintf("%d%s", 1+random.IntN(20+20*random.IntN(3)), []string{"", "+"}[random.IntN(2)])
				n++
				if failing(t, all, random, r, l, "-e", fmt.Sprintf("inject=%s:error=%s:when=%s", f.calls, e, when)) {
					ended++
				}
			}
		}
	}
	t.Logf("%d processes with failing calls, %d of them ended early", n, ended)
}

// Closing a new file writes its log back, and hides an error: the file was incomplete.
func TestFailedSyncsWhileAFileIsCreated(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, all := randomSeed(t), newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	root := folder(t)
	l := life{Path: filepath.Join(root, databaseName), Name: "new", Senders: []string{"desk/a"}, Count: 1}
	for n := range 12 {
		failing(t, all, random, newRecording(root).kill(t, 0), l, "-e", fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d", n+1))
	}
}

// A file that cannot grow further makes a write short, and the next one fail.
func TestShortWritesLoseNothingAcknowledged(t *testing.T) {
	testenv.Needs(t, "strace")
	rounds := 6
	if testenv.Long() {
		rounds = 300
	}
	seed, all := randomSeed(t), newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	root := folder(t)
	short := 0
	for range rounds {
		r := newRecording(root).kill(t, 0)
		l := life{Path: filepath.Join(r.root, databaseName), Name: "short", Senders: senders, Count: 8, MaxFile: uint64(random.IntN(1 << 20))}
		failing(t, all, random, r, l)
		if slices.ContainsFunc(r.events, func(e event) bool {
			return e.kind == "write" && len(e.data) != 24 && len(e.data) < 4096 && strings.HasSuffix(e.path, "-wal")
		}) {
			short++
		}
	}
	t.Logf("%d of %d processes had a short write", short, rounds)
}
