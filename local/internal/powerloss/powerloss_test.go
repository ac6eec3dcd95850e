//go:build linux

package powerloss

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/internal/testenv"
)

// folder returns a new directory, in memory where possible: the tests sync a lot, and what
// they store need not survive.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powerloss-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// checker is a process that opens images.
type checker struct {
	questions *json.Encoder
	answers   *json.Decoder
	dir       string
}

// checkers are idle.
type checkers chan *checker

// newCheckers starts processes that end with the test.
func newCheckers(t *testing.T) checkers {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	all := make(checkers, 2)
	for range cap(all) {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), roleVariable+"=check")
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		all <- &checker{json.NewEncoder(in), json.NewDecoder(out), filepath.Join(folder(t), "image")}
		t.Cleanup(func() {
			_ = in.Close()
			if err := cmd.Wait(); err != nil {
				t.Errorf("the checking process: %v", err)
			}
		})
	}
	return all
}

// problem returns what is wrong with the database of an image.
func (c *checker) problem(r *recording, img *image, acks int) string {
	var problem string
	err := img.store(r.root, c.dir)
	if err == nil {
		err = errors.Join(
			c.questions.Encode(question{filepath.Join(c.dir, databaseName), r.acks[:acks], r.sent}),
			c.answers.Decode(&problem),
			os.RemoveAll(c.dir),
		)
	}
	if err != nil {
		return err.Error()
	}
	return problem
}

// places returns n random places of the recording after an event, each with the next way.
func (r *recording) places(random *rand.Rand, after, n int) []place {
	at := make([]place, n)
	for i := range at {
		at[i] = place{after + random.IntN(len(r.events)-after), ways[i%len(ways)]}
	}
	return at
}

// place says where in a recording an image is made, by the number of an event, and how.
type place struct {
	event int
	way   string
}

// images makes an image at each place and returns what is wrong with them; it ends when
// that is enough. The images are a function of the seed and the recording.
func (r *recording) images(t *testing.T, all checkers, seed uint64, places []place, enough int) (problems []string) {
	t.Helper()
	byEvent := map[int][]int{}
	for i, p := range places {
		byEvent[p.event] = append(byEvent[p.event], i)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	checked := 0
	r.replay(len(r.events), func(at int, now *replay) {
		for _, i := range byEvent[at] {
			c := <-all
			mu.Lock()
			found := len(problems)
			mu.Unlock()
			if found >= enough {
				all <- c
				return
			}
			random := rand.New(rand.NewPCG(seed, uint64(i)+1))
			img := now.disk.image(random, places[i].way)
			if random.IntN(4) == 0 { // the index may be there, with any content
				img.files[filepath.Join(r.root, databaseName+"-shm")] = junk(random, 32<<10)
			}
			acks := now.acks
			wg.Go(func() {
				problem := c.problem(r, img, acks)
				all <- c
				mu.Lock()
				defer mu.Unlock()
				if checked++; problem != "" {
					problems = append(problems, fmt.Sprintf("image %d after event %d of %d (%v), %d acknowledgements, %s: %s", i, at, len(r.events), r.events[at], acks, img.kept, problem))
				}
			})
		}
	})
	wg.Wait()
	slices.Sort(problems)
	t.Logf("%d of %d images have problems", len(problems), checked)
	return problems
}

func junk(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

const databaseName = "app.db"

var senders = []string{"desk/a", "desk/b", "desk/a", "post/b", "post/c", "file/f"}

// lives records an App that runs five times: it is killed and closed in turn.
func lives(t *testing.T, random *rand.Rand) *recording {
	t.Helper()
	r := newRecording(folder(t))
	l := life{Path: filepath.Join(r.root, databaseName), Senders: senders, Count: 10}
	for i := range 5 {
		l.Name = fmt.Sprint("life", i)
		before := len(r.events)
		r.run(t, l)
		l.Again, l.Count = nil, l.Count-2
		if i%2 == 0 && i < 4 {
			r = r.kill(t, before+(len(r.events)-before)*(50+random.IntN(50))/100)
			l.Again = r.unanswered()
			random.Shuffle(len(l.Again), func(i, j int) { l.Again[i], l.Again[j] = l.Again[j], l.Again[i] })
			l.Again = append(l.Again[:min(6, len(l.Again))], r.acks[len(r.acks)-1].ID)
		}
	}
	back := 0 // writes to the database
	for _, e := range r.events {
		if e.kind == "write" && filepath.Base(e.path) == databaseName {
			back++
		}
	}
	t.Logf("the recording has %d events, among them %d writes to the database, and %d acknowledgements", len(r.events), back, len(r.acks))
	return r
}

// run records a life that ends without an error.
func (r *recording) run(t *testing.T, l life) {
	t.Helper()
	if _, err := r.record(t, l, nil); err != nil {
		t.Fatal(err)
	}
	if err := r.same(); err != nil {
		t.Fatalf("the recording is not what happened: %v", err)
	}
}

// unanswered returns the ids that were sent and not acknowledged.
func (r *recording) unanswered() (ids []string) {
	answered := map[string]bool{}
	for _, k := range r.acks {
		answered[k.ID] = true
	}
	for _, id := range r.sent {
		if !answered[id] && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func TestPowerLossLosesNothingAcknowledged(t *testing.T) {
	testenv.Needs(t, "strace")
	recordings, n := 1, 200
	switch {
	case testenv.Long():
		recordings, n = 10, 1000
	case raceEnabled:
		n = 40
	}
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	for i := range uint64(recordings) {
		random := rand.New(rand.NewPCG(seed+i, 0))
		r := lives(t, random)
		report(t, r.images(t, all, seed+i, r.places(random, 0, n), 20))
	}
}

func report(t *testing.T, problems []string) {
	t.Helper()
	for i, p := range problems {
		if i == 5 {
			t.Errorf("and %d more", len(problems)-i)
			break
		}
		t.Error(p)
	}
}

// A test that finds nothing may look at nothing: without one of the syncs, it must find
// losses.
func TestMissingSyncsAreFound(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	r := lives(t, random)
	for name, missing := range map[string]func(e event) bool{
		"of the write-ahead log": func(e event) bool { return e.kind == "synced" && strings.HasSuffix(e.path, "-wal") },
		"of the database":        func(e event) bool { return e.kind == "synced" && strings.HasSuffix(e.path, databaseName) },
		"of the new database":    func(e event) bool { return e.kind == "synced" && strings.HasSuffix(e.path, ".new") },
		"of the directory":       func(e event) bool { return e.kind == "synced directory" && e.path == r.root },
		"of a file's directory":  func(e event) bool { return e.kind == "synced directory" && e.path != r.root },
		"of a file":              func(e event) bool { return e.kind == "synced" && strings.Contains(e.path, ".writing") },
	} {
		without := *r
		without.events = slices.DeleteFunc(slices.Clone(r.events), missing)
		first := slices.IndexFunc(without.events, func(e event) bool { return e.kind == "ack" })
		places := append(without.places(random, 0, 20), place{first, "nothing"}, place{len(without.events) - 1, "nothing"})
		if problems := without.images(t, all, seed, places, 1); len(problems) == 0 {
			t.Errorf("no loss is found without the syncs %s", name)
		} else {
			t.Logf("without the syncs %s: %s", name, problems[0])
		}
	}
}

// SQLite ignores an error when it syncs the directory of a new write-ahead log.
func TestDirectoryIsDurableWithoutSQLite(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	r := lives(t, random)
	ignored, last := 0, event{}
	r.events = slices.DeleteFunc(r.events, func(e event) bool {
		// SQLite syncs the log, and directly after that the directory.
		ignore := e.kind == "synced directory" && e.path == r.root && strings.HasSuffix(last.path, "-wal") && last.kind == "synced"
		if e.kind != "sync" {
			last = e
		}
		if ignore {
			ignored++
		}
		return ignore
	})
	if ignored == 0 {
		t.Fatal("SQLite has not synced the directory")
	}
	report(t, r.images(t, all, seed, r.places(random, len(r.events)/2, 15), 20))
}

// SQLite recovers a commit that a killed process had written and not synced. Its commands
// may be sent again, and are then acknowledged without a further write.
func TestRecoveredCommandsAreDurable(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	random := rand.New(rand.NewPCG(seed, 0))
	r := newRecording(folder(t))
	l := life{Path: filepath.Join(r.root, databaseName), Name: "killed", Senders: []string{"desk/a", "desk/b"}, Count: 8}
	r.run(t, l)
	var syncs []int // of the write-ahead log, just before a command is acknowledged
	for i, e := range r.events {
		if e.kind == "ack" && r.events[i-1].kind == "synced" && strings.HasSuffix(r.events[i-1].path, "-wal") {
			syncs = append(syncs, i-1)
		}
	}
	if len(syncs) == 0 {
		t.Fatal("no sync was followed by an acknowledgement")
	}
	for range 10 {
		sync := syncs[random.IntN(len(syncs))]
		id := r.acks[r.replay(sync, nil).acks].ID
		killed := r.kill(t, sync)
		l.Name, l.Count, l.Again = "next", 0, []string{id}
		killed.run(t, l)
		for i, e := range killed.events {
			if i >= sync && e.kind == "ack" {
				report(t, killed.images(t, all, seed, []place{{i, "nothing"}}, 1))
			}
		}
	}
}

// A process may be killed between the creation of a directory and its sync. The next one
// finds the directory and stores a file in it.
func TestFilesInRecoveredDirectoriesAreDurable(t *testing.T) {
	testenv.Needs(t, "strace")
	seed, _ := testenv.Seed(t)
	all := newCheckers(t)
	r := newRecording(folder(t))
	l := life{Path: filepath.Join(r.root, databaseName), Name: "killed", Senders: []string{"file/f"}, Count: 1}
	r.run(t, l)
	l.Name, l.Count, l.Again = "next", 0, r.sent
	made := 0
	for i, e := range r.events {
		if e.kind != "mkdir" {
			continue
		}
		made++
		killed := r.kill(t, i+1)
		killed.run(t, l)
		last := len(killed.events) - 1
		report(t, killed.images(t, all, seed, []place{{last, "nothing"}}, 1))
	}
	if made < 4 {
		t.Errorf("only %d directories were created", made)
	}
}
