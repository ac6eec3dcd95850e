package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
)

func openBucket(t *testing.T, p *Provider) driver.Bucket {
	t.Helper()
	return must[driver.Bucket](t)(p.OpenBucket(t.Context(), "Test.Files"))
}

func putObject(t *testing.T, b driver.Bucket, key, content string) {
	t.Helper()
	if err := b.Put(t.Context(), key, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

// object returns an object's content, or the class of the error.
func object(t *testing.T, b driver.Bucket, key string) string {
	t.Helper()
	r, o, err := b.Get(t.Context(), key)
	if errors.Is(err, driver.ErrNotFound) {
		return "not found"
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text := must[[]byte](t)(io.ReadAll(r))
	if o.Key != key || o.Size != int64(len(text)) {
		t.Errorf("object %q of %d bytes is described as %+v", key, len(text), o)
	}
	return string(text)
}

func openEvents(t *testing.T, p *Provider) driver.Receiver[driver.ObjectEvent] {
	t.Helper()
	return must[driver.Receiver[driver.ObjectEvent]](t)(p.OpenBucketReceiver(t.Context(), "Test.Files"))
}

// wantEvents receives and settles events until the last event of each key is the
// wanted one.
func wantEvents(t *testing.T, events driver.Receiver[driver.ObjectEvent], want map[string]driver.ObjectEventKind) {
	t.Helper()
	got := map[string]driver.ObjectEventKind{}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		batch := must[driver.Batch[driver.ObjectEvent]](t)(events.Receive(t.Context(), 10))
		var done []driver.Settlement
		for _, d := range batch.Deliveries {
			if _, ok := want[d.Message.Key]; !ok {
				t.Errorf("unexpected event of %q", d.Message.Key)
			}
			got[d.Message.Key] = d.Message.Kind
			done = append(done, driver.Settlement{ID: d.ID})
		}
		if err := events.Settle(t.Context(), done); err != nil {
			t.Fatal(err)
		}
		all := true
		for key, kind := range want {
			all = all && got[key] == kind
		}
		if all {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("got the events %v, want %v", got, want)
		}
	}
}

func waitFor(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func keysOf(t *testing.T, b driver.Bucket) []string {
	t.Helper()
	var keys []string
	for _, o := range must[[]driver.Object](t)(b.List(t.Context(), "", "", 1000)) {
		keys = append(keys, o.Key)
	}
	return keys
}

// writeFile creates a complete file at once. A file that grows may lead to several
// events.
func writeFile(t *testing.T, path, text string) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "whole")
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(whole, []byte(text), 0o600), os.Rename(whole, path)); err != nil {
		t.Fatal(err)
	}
}

func TestFilesOfOtherProgramsAreObjects(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	b, events := openBucket(t, p), openEvents(t, p)
	dir := filepath.Join(path+".buckets", "Test.Files")
	const created, removed = driver.ObjectCreated, driver.ObjectRemoved

	notified := make(chan string, 1000)
	p.Notify(func(r string) { notified <- r })
	writeFile(t, filepath.Join(dir, "dropped file.csv"), "1")
	wantEvents(t, events, map[string]driver.ObjectEventKind{"dropped file.csv": created})
	if r := <-notified; r != driver.ReceiverOf("Bucket", "Test.Files") {
		t.Errorf("%s was notified", r)
	}
	if got := object(t, b, "dropped file.csv"); got != "1" {
		t.Errorf("the dropped file is %q", got)
	}
	writeFile(t, filepath.Join(dir, "in", "deep", "er", "100%.txt"), "2") // with its directories
	wantEvents(t, events, map[string]driver.ObjectEventKind{"in/deep/er/100%.txt": created})
	writeFile(t, filepath.Join(dir, "in", "deep", "er", "later.txt"), "3")
	wantEvents(t, events, map[string]driver.ObjectEventKind{"in/deep/er/later.txt": created})
	writeFile(t, filepath.Join(dir, "dropped file.csv"), "longer")
	wantEvents(t, events, map[string]driver.ObjectEventKind{"dropped file.csv": created})
	if got, want := keysOf(t, b), []string{"dropped file.csv", "in/deep/er/100%.txt", "in/deep/er/later.txt"}; !slices.Equal(got, want) {
		t.Errorf("the keys are %q, want %q", got, want)
	}

	// A change by the bucket itself leads to only one event, although the files are
	// watched.
	putObject(t, b, "own", "4")
	writeFile(t, filepath.Join(dir, "after"), "5") // noticed after the change by Put
	var got []string
	waitFor(t, "the event of a later file", func() bool {
		batch := must[driver.Batch[driver.ObjectEvent]](t)(events.Receive(t.Context(), 10))
		for _, d := range batch.Deliveries {
			if key := d.Message.Key; !slices.Contains(got, key) || key == "own" {
				got = append(got, key)
			}
			if err := events.Settle(t.Context(), []driver.Settlement{{ID: d.ID}}); err != nil {
				t.Fatal(err)
			}
		}
		return slices.Contains(got, "after")
	})
	if want := []string{"own", "after"}; !slices.Equal(got, want) {
		t.Errorf("the events were of %q, want %q", got, want)
	}

	// Moving a directory out removes its files, moving it in creates them.
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.Rename(filepath.Join(dir, "in"), outside); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, map[string]driver.ObjectEventKind{"in/deep/er/100%.txt": removed, "in/deep/er/later.txt": removed})
	if err := os.Rename(outside, filepath.Join(dir, "back")); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, map[string]driver.ObjectEventKind{"back/deep/er/100%.txt": created, "back/deep/er/later.txt": created})

	// Changes while no provider is open.
	mustClose(t, p)
	writeFile(t, filepath.Join(dir, "new"), "5")
	writeFile(t, filepath.Join(dir, "back", "deep", "er", "later.txt"), "changed")
	if err := os.Remove(filepath.Join(dir, "own")); err != nil {
		t.Fatal(err)
	}
	p = mustOpen(t, path, nil)
	b, events = openBucket(t, p), openEvents(t, p)
	wantEvents(t, events, map[string]driver.ObjectEventKind{"new": created, "back/deep/er/later.txt": created, "own": removed})
	if got := object(t, b, "own"); got != "not found" {
		t.Errorf("the removed object is %q", got)
	}
	// Removal of the bucket's directory with its files.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, events, map[string]driver.ObjectEventKind{
		"new": removed, "after": removed, "dropped file.csv": removed, "back/deep/er/100%.txt": removed, "back/deep/er/later.txt": removed,
	})
	waitFor(t, "the directory to be made and watched again", func() bool {
		_, err := os.Stat(dir)
		return err == nil && slices.Contains(p.watch.files.WatchList(), dir)
	})
	// Many changes at once.
	want := map[string]driver.ObjectEventKind{}
	for i := range 300 { // more than a page
		key := fmt.Sprintf("many/%d", i)
		writeFile(t, filepath.Join(dir, key), "x")
		want[key] = created
	}
	wantEvents(t, events, want)
	if err := os.RemoveAll(filepath.Join(dir, "many")); err != nil {
		t.Fatal(err)
	}
	for key := range want {
		want[key] = removed
	}
	wantEvents(t, events, want)
}

func TestKeysThatCannotBePaths(t *testing.T) {
	t.Parallel()
	p := mustOpen(t, filepath.Join(t.TempDir(), "app.db"), &Options{BucketDir: filepath.Join(t.TempDir(), "elsewhere", "buckets")})
	b := openBucket(t, p)
	must[driver.Receiver[driver.ObjectEvent]](t)(p.OpenBucketReceiver(t.Context(), "Test.Files"))
	long := strings.Repeat("ü%", 340) // escaped it has more than 1,500 bytes
	keys := []string{
		"a", "a/b", "a/b/c", "b/c/d", "b/c", "b", // a file and a directory of one name
		"%=a", "%-a/%=b", "%+a", "x/%=y", "%", "%41", "100%", // keys that look like escaped names
		long, long + "/x", "x/" + long, strings.Repeat("y", 1024), strings.Repeat("z/", 511) + "z",
		".hidden", ".writing", "...", "a.", "a ", " a", "-", "~", "CON", "nul.txt", `back\slash`, "a:b", "a?b*c<d>e|f\"g",
	}
	for i, key := range keys {
		putObject(t, b, key, fmt.Sprint("content ", i))
	}
	check := func() {
		t.Helper()
		for i, key := range keys {
			if got, want := object(t, b, key), fmt.Sprint("content ", i); got != want {
				t.Errorf("%.30q is %q, want %q", key, got, want)
			}
		}
		sorted := slices.Sorted(slices.Values(keys))
		if got := keysOf(t, b); !slices.Equal(got, sorted) {
			t.Errorf("the keys are %.60q, want %.60q", got, sorted)
		}
	}
	check()
	if err := b.(*bucket).scan(t.Context()); err != nil { // finds no changes
		t.Fatal(err)
	}
	check()
	if err := p.read(t.Context(), func(c *conn) error {
		n, err := c.integer("SELECT count(*) FROM messages")
		if n != int64(len(keys)) {
			t.Errorf("%d events, want %d", n, len(keys))
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	for _, key := range keys {
		if err := b.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %.30q: %v", key, err)
		}
	}
	for _, key := range keys {
		if got := object(t, b, key); got != "not found" {
			t.Errorf("the deleted %.30q is %q", key, got)
		}
	}
	// An empty directory with the name of a key does not prevent the plain path.
	putObject(t, b, "a/b", "1")
	if err := b.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	putObject(t, b, "a", "2")
	if _, err := os.Stat(filepath.Join(b.(*bucket).dir, "a")); err != nil {
		t.Errorf("the object a is not in the file a: %v", err)
	}
}

func TestPathsOfKeysAreReversible(t *testing.T) {
	t.Parallel()
	pieces := []string{"a", "%", "%=", "%-", "%+", "/", ".", " ", "é", "\\", "4", "1", strings.Repeat("x", 239), strings.Repeat("€", 80)}
	var try func(key string, depth int)
	try = func(key string, depth int) {
		reversible := func(path string) {
			if got, ok := keyOf(path); !ok || got != key {
				t.Errorf("the key of %q is %q, %t, want %q", path, got, ok, key)
			}
		}
		if checkable(key) {
			if path, ok := plainPath(key); ok {
				reversible(path)
			}
			path := escapedPath(key)
			reversible(path)
			for name := range strings.SplitSeq(filepath.ToSlash(path), "/") {
				if len(name) > 250 {
					t.Errorf("a name of %d bytes in %q", len(name), path)
				}
			}
		}
		if depth == 0 {
			return
		}
		for _, p := range pieces {
			try(key+p, depth-1)
		}
	}
	try("", 3)
}

// checkable reports whether a key of TestPathsOfKeysAreReversible is valid.
func checkable(key string) bool {
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return len(key) <= 1024
}

func TestAFailedPutLeavesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	b := openBucket(t, p)
	errBody := errors.New("body")
	err := b.Put(t.Context(), "k", io.MultiReader(strings.NewReader("new"), failingReader{errBody}))
	if !errors.Is(err, errBody) {
		t.Errorf("got %v, want the body's error", err)
	}
	if left := must[[]os.DirEntry](t)(os.ReadDir(filepath.Join(path+".buckets", ".writing"))); len(left) != 0 {
		t.Errorf("these files are left: %v", left)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// A bucket that no task reads would otherwise collect a message for each change.
func TestChangesOfABucketWithoutAReceiverAreNotKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.db")
	ctx := t.Context()
	p := mustOpen(t, path, nil)
	b := must[driver.Bucket](t)(p.OpenBucket(ctx, "files"))
	messages := func() (n int64) {
		err := p.read(ctx, func(c *conn) (err error) {
			n, err = c.integer("SELECT count(*) FROM messages")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	put := func(keys ...string) {
		for _, key := range keys {
			if err := b.Put(ctx, key, strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	put("a", "b", "a")
	if err := b.Delete(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if n := messages(); n != 0 {
		t.Errorf("%d messages without a receiver, want none", n)
	}
	must[driver.Receiver[driver.ObjectEvent]](t)(p.OpenBucketReceiver(ctx, "files"))
	if n := messages(); n != 1 {
		t.Errorf("the first receiver gets %d messages, want one for the existing object", n)
	}
	put("c")
	mustClose(t, p)
	// From now on changes are kept, also before the receiver is opened again.
	p = mustOpen(t, path, nil)
	b = must[driver.Bucket](t)(p.OpenBucket(ctx, "files"))
	put("d")
	must[driver.Receiver[driver.ObjectEvent]](t)(p.OpenBucketReceiver(ctx, "files"))
	if n := messages(); n != 3 {
		t.Errorf("%d messages after the restart, want 3", n)
	}
}
