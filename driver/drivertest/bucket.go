package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/reventless-go/reventless/driver"
)

// TestBucket runs the suite of [driver.Bucket].
func TestBucket(t *testing.T, open Open) { bucketSuite().run(t, open) }

func bucketSuite() suite {
	return suite{"Bucket", append(receiverProperties(false, objectQueue), []property{
		{"PutThenGet", putThenGet},
		{"PutReplaces", putReplaces},
		{"AFailedPutChangesNothing", aFailedPutChangesNothing},
		{"ReadersSeeWholeObjects", readersSeeWholeObjects},
		{"AnOpenObjectKeepsItsContent", anOpenObjectKeepsItsContent},
		{"DeleteRemovesAnObject", deleteRemovesAnObject},
		{"KeysAreKeptApart", keysAreKeptApart},
		{"BadKeysAreRefused", badKeysAreRefused},
		{"ListIsAscendingAndBounded", listIsAscendingAndBounded},
		{"PagesContinueAfterEveryKey", pagesContinueAfterEveryKey},
		{"ObjectsAreDescribed", objectsAreDescribed},
		{"EveryChangeIsDelivered", everyChangeIsDelivered},
		{"TheLastOfQuickChangesIsDelivered", theLastOfQuickChangesIsDelivered},
		{"ObjectsSurviveReopening", objectsSurviveReopening},
		cancelledCallsFail(bucketCalls),
	}...)}
}

// bucketEnds are a bucket and the receiver of its changes.
type bucketEnds struct {
	driver.Bucket
	driver.Receiver[driver.ObjectEvent]
}

func (e *env) bucket(name string) bucketEnds {
	e.Helper()
	b, err := e.Provider.OpenBucket(e.ctx, name)
	r, err2 := e.Provider.OpenBucketReceiver(e.ctx, name)
	return bucketEnds{opened(e, b, err), opened(e, r, err2)}
}

func objectQueue(e *env) queue[driver.ObjectEvent] {
	b := e.bucket("Test.Files")
	return queue[driver.ObjectEvent]{
		Receiver: b,
		put: func(group string, n int) {
			e.try(b.Put(e.ctx, group, strings.NewReader(group)), "Put(%s)", short(group))
		},
		place: func(o driver.ObjectEvent) place { return place{o.Key, 1} },
	}
}

// putObject stores content, read in small pieces.
func (e *env) putObject(b bucketEnds, key, content string) {
	e.Helper()
	e.must(b.Put(e.ctx, key, strings.NewReader(content)), "Put(%s)", short(key))
}

// wantObject checks an object's content and size.
func (e *env) wantObject(b bucketEnds, key, content string) driver.Object {
	e.Helper()
	r, o, err := b.Get(e.ctx, key)
	if !e.try(err, "Get(%s)", short(key)) {
		return o
	}
	got, err := io.ReadAll(r)
	e.try(err, "read %s", short(key))
	e.try(r.Close(), "close %s", short(key))
	e.errorIf(string(got) != content, "the object %s is %s, want %s", short(key), short(string(got)), short(content))
	e.errorIf(o.Key != key || o.Size != int64(len(content)), "Get(%s) returned %+v, want the key and %d bytes", short(key), o, len(content))
	return o
}

func (e *env) wantNoObject(b bucketEnds, key, why string) {
	e.Helper()
	r, _, err := b.Get(e.ctx, key)
	if err == nil {
		e.Errorf("the object %s exists, %s", short(key), why)
		_ = r.Close()
		return
	}
	e.wantClass(err, driver.ErrNotFound, "Get(%s), %s", short(key), why)
}

func putThenGet(e *env) {
	b := e.bucket("Test.Files")
	e.wantNoObject(b, "nobody", "it was never put")
	binary := make([]byte, 70_000)
	for i := range binary {
		binary[i] = byte(i * 7)
	}
	for name, content := range map[string]string{
		"empty": "", "text": "hello\r\n\tä\u2028", "binary": string(binary), "one": "\x00", "large": strings.Repeat("0123456789", 300_000),
	} {
		e.putObject(b, name, content)
		e.wantObject(b, name, content)
	}
	e.must(b.Put(e.ctx, "slow", iotest.OneByteReader(strings.NewReader("byte by byte"))), "Put of a slow body")
	e.wantObject(b, "slow", "byte by byte")
	e.must(b.Put(e.ctx, "data and EOF", iotest.DataErrReader(strings.NewReader("at once"))), "Put")
	e.wantObject(b, "data and EOF", "at once")
}

func putReplaces(e *env) {
	b := e.bucket("Test.Files")
	for _, content := range []string{"first", "a longer second one", "3", ""} {
		e.putObject(b, "key", content)
		e.wantObject(b, "key", content)
	}
	e.wantObjects(b, "", "", 10, []string{"key"})
}

var errBody = errors.New("the body failed")

func aFailedPutChangesNothing(e *env) {
	b := e.bucket("Test.Files")
	e.putObject(b, "old", "old content")
	for _, d := range take(e, b, 1) {
		settle(e, b, false, d)
	}
	failing := func(err error, parts ...string) func() io.Reader {
		return func() io.Reader {
			rs := []io.Reader{strings.NewReader(strings.Join(parts, "")), iotest.ErrReader(err)}
			return io.MultiReader(rs...)
		}
	}
	for name, c := range map[string]struct {
		body func() io.Reader
		want error
	}{
		"at once":               {failing(errBody), errBody},
		"on its way":            {failing(errBody, "new con"), errBody},
		"after much":            {failing(errBody, strings.Repeat("x", 200_000)), errBody},
		"by a cut":              {failing(io.ErrUnexpectedEOF, "new"), io.ErrUnexpectedEOF},
		"with a kind of an EOF": {failing(fmt.Errorf("%w: %w", errBody, io.EOF), "new"), errBody},
	} {
		for _, key := range []string{"old", "new"} {
			if err := b.Put(e.ctx, key, c.body()); !errors.Is(err, c.want) {
				e.Errorf("Put of a body that fails %s = %v, want the body's error", name, err)
			}
		}
		e.wantObject(b, "old", "old content")
		e.wantNoObject(b, "new", "though its Put failed")
	}
	e.wantObjects(b, "", "", 10, []string{"old"})
	nothing(e, objectQueue(e), "though its Put failed")
}

func readersSeeWholeObjects(e *env) {
	b := e.bucket("Test.Files")
	content := func(n int) string { return strings.Repeat(string(rune('a'+n%26)), 20_000+1000*(n%7)) }
	e.putObject(b, "key", content(0))
	write := func(n int) bool {
		return e.try(b.Put(e.ctx, "key", iotest.HalfReader(strings.NewReader(content(n)))), "Put")
	}
	read := func() bool {
		r, o, err := b.Get(e.ctx, "key")
		if !e.try(err, "Get with a concurrent writer") {
			return false
		}
		got, err := io.ReadAll(r)
		e.try(err, "read with a concurrent writer")
		e.try(r.Close(), "close")
		e.errorIf(len(got) == 0 || int64(len(got)) != o.Size || len(bytes.Trim(got, string(got[0]))) != 0, "with a concurrent writer, a read returns %d of %d bytes, or parts of two objects", len(got), o.Size)
		return !e.Failed()
	}
	e.beside(20, 500, write, read, read, read)
}

func anOpenObjectKeepsItsContent(e *env) {
	b := e.bucket("Test.Files")
	old, next := strings.Repeat("o", 300_000), strings.Repeat("n", 200_000)
	for name, change := range map[string]func(key string) error{
		"replaced": func(key string) error { return b.Put(e.ctx, key, strings.NewReader(next)) },
		"removed":  func(key string) error { return b.Delete(e.ctx, key) },
	} {
		e.putObject(b, name, old)
		r, _, err := b.Get(e.ctx, name)
		e.must(err, "Get")
		first := make([]byte, 10)
		_, err = io.ReadFull(r, first)
		e.must(err, "read")
		e.must(change(name), "change")
		rest, err := io.ReadAll(r)
		e.try(r.Close(), "close")
		if err != nil {
			continue // an error is allowed, a part that looks complete is not
		}
		got := string(first) + string(rest)
		e.errorIf(got != old, "an object that was %s while it was read has %d bytes, want the %d of the old one", name, len(got), len(old))
	}
}

func deleteRemovesAnObject(e *env) {
	b := e.bucket("Test.Files")
	e.must(b.Delete(e.ctx, "nobody"), "Delete of an absent object")
	e.putObject(b, "a", "a")
	e.putObject(b, "a/b", "b")
	e.must(b.Delete(e.ctx, "a"), "Delete")
	e.must(b.Delete(e.ctx, "a"), "Delete again")
	e.wantNoObject(b, "a", "though it was deleted")
	e.wantObject(b, "a/b", "b")
	e.putObject(b, "a", "again")
	e.must(b.Delete(e.ctx, "a/b"), "Delete")
	e.wantObject(b, "a", "again")
}

// goodKeys are keys that every bucket accepts.
func goodKeys() []string {
	keys := []string{
		"a/b/c", "a/b/c/d", "a.b", "...", ".hidden", "..a", "a..", "a/..b/c", "a/.b", "a /b", "a/ b", "a+b", "a%2Fb", "a\\b", "a/b.txt",
		strings.Repeat("k/", 511) + "kk", strings.Repeat("x", 600) + "/" + strings.Repeat("y", 400), "con", "nul.txt", "file:a", "s3:b/k", "a/b?c=d#e",
	}
	for _, id := range goodIDs() {
		if !strings.HasPrefix(id, "/") && !strings.HasSuffix(id, "/") && !strings.Contains(id, "//") && !slices.ContainsFunc(strings.Split(id, "/"), func(s string) bool { return s == "." || s == ".." }) {
			keys = append(keys, id)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func keysAreKeptApart(e *env) {
	b := e.bucket("Test.Files")
	keys := goodKeys()
	stored := keys[:0:0]
	for _, k := range keys {
		if e.try(b.Put(e.ctx, k, strings.NewReader("content of "+k)), "Put(%s)", short(k)) {
			stored = append(stored, k)
		}
	}
	for _, k := range stored {
		e.wantObject(b, k, "content of "+k)
	}
	e.wantObjects(b, "", "", len(keys)+1, stored)
	told := map[string]bool{}
	for _, p := range drain(e, objectQueue(e), len(stored)) {
		told[p.group] = true
	}
	for _, k := range stored {
		e.errorIf(!told[k], "no event of %s was delivered", short(k))
		e.must(b.Delete(e.ctx, k), "Delete(%s)", short(k))
		e.wantNoObject(b, k, "though it was deleted")
	}
}

func badKeysAreRefused(e *env) {
	b := e.bucket("Test.Files")
	bad := badIDs()
	bad["a leading slash"] = "/a"
	bad["a trailing slash"] = "a/"
	bad["a slash"] = "/"
	bad["an empty segment"] = "a//b"
	bad["a dot"] = "."
	bad["two dots"] = ".."
	bad["a dot segment"] = "a/./b"
	bad["a leading dot segment"] = "./a"
	bad["a trailing dot segment"] = "a/."
	bad["a climbing segment"] = "a/../b"
	bad["a leading climbing segment"] = "../a"
	bad["a trailing climbing segment"] = "a/.."
	for name, key := range bad {
		e.wantClass(b.Put(e.ctx, key, strings.NewReader("x")), driver.ErrInvalid, "Put with a key that is %s", name)
		_, _, err := b.Get(e.ctx, key)
		e.wantClass(err, driver.ErrInvalid, "Get with a key that is %s", name)
		e.wantClass(b.Delete(e.ctx, key), driver.ErrInvalid, "Delete with a key that is %s", name)
	}
	e.wantObjects(b, "", "", 10, nil)
	nothing(e, objectQueue(e), "though it was refused")
}

func (e *env) wantObjects(b bucketEnds, prefix, after string, limit int, want []string) []driver.Object {
	e.Helper()
	list, err := b.List(e.ctx, prefix, after, limit)
	wantList(e, list, err, func(o driver.Object) string { return o.Key }, want, "List(%q, %q, %d)", prefix, after, limit)
	return list
}

func listIsAscendingAndBounded(e *env) {
	b := e.bucket("Test.Files")
	e.wantObjects(b, "", "", 10, nil)
	var keys []string
	for i := range 40 {
		keys = append(keys, fmt.Sprintf("in/%d", i), fmt.Sprintf("in/sub/%d", i))
	}
	keys = append(keys, "in", "in-", "in.txt", "inn/1", "i", "In/1", "in/ä", "in/😀", "in/\uffff", "in/%", "in/_", "z")
	for _, k := range keys {
		e.putObject(b, k, k)
	}
	slices.Sort(keys)
	for _, prefix := range []string{"", "in", "in/", "in/s", "in/sub/", "in/1", "in/ä", "in/%", "in/_", "I", "z", "zz", "nobody", "in/sub/39x", "in//"} {
		for _, after := range []string{"", "a", "in/", "in/2", "in/sub/2", "in/sub/20x", "in/sub/39", "in/\xff", "zzz", "\xff", "IN"} {
			var want []string
			for _, k := range keys {
				if strings.HasPrefix(k, prefix) && k > after {
					want = append(want, k)
				}
			}
			for _, limit := range []int{1, 3, 1000} {
				e.wantObjects(b, prefix, after, limit, want[:min(limit, len(want))])
			}
		}
	}
}

func pagesContinueAfterEveryKey(e *env) {
	b := e.bucket("Test.Files")
	keys := goodKeys()
	for _, k := range keys {
		e.putObject(b, k, k)
	}
	for i, after := range append([]string{""}, keys...) {
		e.wantObjects(b, "", after, 3, keys[i:min(i+3, len(keys))])
	}
}

func objectsAreDescribed(e *env) {
	b := e.bucket("Test.Files")
	before := e.Now().Add(-time.Second - e.Lag)
	e.putObject(b, "a", "twelve bytes")
	o := e.wantObject(b, "a", "twelve bytes")
	list, err := b.List(e.ctx, "", "", 1)
	e.must(err, "List")
	e.errorIf(len(list) != 1 || list[0].Key != "a" || list[0].Size != 12 || !list[0].ModifiedAt.Equal(o.ModifiedAt), "List returned %+v, Get %+v", list, o)
	e.errorIf(o.ModifiedAt.Before(before) || o.ModifiedAt.After(e.Now().Add(time.Second+e.Lag)), "ModifiedAt = %v, now is %v", o.ModifiedAt, e.Now())
}

// objectEvents receives and settles events, until those received, by key, are enough.
func (e *env) objectEvents(b bucketEnds, until func(map[string][]driver.ObjectEvent) bool) {
	e.Helper()
	got := map[string][]driver.ObjectEvent{}
	e.poll("object events", func() (bool, bool) {
		ds, _ := receive(e, b, 10)
		for _, d := range ds {
			got[d.Message.Key] = append(got[d.Message.Key], d.Message)
		}
		settle(e, b, false, ds...)
		return until(got), len(ds) > 0
	})
}

func everyChangeIsDelivered(e *env) {
	b := e.bucket("Test.Files")
	step := func(kind driver.ObjectEventKind, change func() error) string {
		e.Helper()
		e.must(change(), "change")
		ds := take(e, b, 1)
		got := ds[0].Message
		e.errorIf(got.Kind != kind || got.Key != "dir/a+b %2F ä.txt", "got the event %+v, want %s", got, kind)
		settle(e, b, false, ds...)
		nothing(e, objectQueue(e), "though there was one change")
		return got.Version
	}
	put := func(content string) func() error {
		return func() error { return b.Put(e.ctx, "dir/a+b %2F ä.txt", strings.NewReader(content)) }
	}
	del := func() error { return b.Delete(e.ctx, "dir/a+b %2F ä.txt") }
	seen := map[string]bool{}
	for i, version := range []string{
		step(driver.ObjectCreated, put("1")),
		step(driver.ObjectCreated, put("2")),
		step(driver.ObjectCreated, put("2")),
		step(driver.ObjectRemoved, del),
		step(driver.ObjectCreated, put("2")),
		step(driver.ObjectRemoved, del),
		step(driver.ObjectCreated, put("1")),
	} {
		e.errorIf(version == "" || seen[version], "change %d has the version %q: empty or that of another change", i, version)
		seen[version] = true
	}
}

func theLastOfQuickChangesIsDelivered(e *env) {
	b := e.bucket("Test.Files")
	for i := range 10 {
		for n := range 5 {
			e.putObject(b, fmt.Sprintf("k%d", i), fmt.Sprint(n))
			if (i+n)%2 == 0 {
				e.must(b.Delete(e.ctx, fmt.Sprintf("k%d", i)), "Delete")
			}
		}
	}
	last := func(i int) driver.ObjectEventKind {
		if i%2 == 0 {
			return driver.ObjectRemoved
		}
		return driver.ObjectCreated
	}
	got := map[string]driver.ObjectEventKind{}
	collect := func() bool {
		ds, _ := receive(e, b, 10)
		for _, d := range ds {
			got[d.Message.Key] = d.Message.Kind
		}
		settle(e, b, false, ds...)
		return len(ds) > 0
	}
	right := func() bool {
		for i := range 10 {
			if got[fmt.Sprintf("k%d", i)] != last(i) {
				return false
			}
		}
		return true
	}
	// An earlier change may look like the last one, and the last one may still be on its
	// way; a later event of a key replaces what is known of it.
	e.poll("events that end with the last change of each object", func() (bool, bool) {
		some := collect()
		if !right() {
			return false, some
		}
		e.quiet(func() {
			for collect() {
			}
		})
		return right(), true
	})
}

func objectsSurviveReopening(e *env) {
	e.needReopen()
	b := e.bucket("Test.Files")
	e.putObject(b, "a/b", "content")
	e.putObject(b, "gone", "content")
	e.must(b.Delete(e.ctx, "gone"), "Delete")
	o := e.wantObject(b, "a/b", "content")
	e.reopen()
	b = e.bucket("Test.Files")
	again := e.wantObject(b, "a/b", "content")
	e.errorIf(!again.ModifiedAt.Equal(o.ModifiedAt), "ModifiedAt = %v, was %v before reopening", again.ModifiedAt, o.ModifiedAt)
	e.wantNoObject(b, "gone", "though it was deleted")
	e.objectEvents(b, func(got map[string][]driver.ObjectEvent) bool {
		gone := got["gone"]
		return len(got["a/b"]) > 0 && len(gone) > 0 && gone[len(gone)-1].Kind == driver.ObjectRemoved
	})
}
