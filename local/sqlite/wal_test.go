package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// crash is what a process leaves behind that is killed: the database and its write-ahead
// log, and the mark.
type crash struct{ db, wal []byte }

// crashed returns the files of a database that is open, with n acknowledged commits in its
// log, and the number of frames of its last transaction.
func crashed(t *testing.T, n int) (c crash, last int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	p := mustOpen(t, path, nil)
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), "Test.Log"))
	before := 0
	for i := range n {
		before = int(must[os.FileInfo](t)(os.Stat(path + "-wal")).Size())
		if err := l.Append(t.Context(), commitOf("s", uint64(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path + ".mark"); err != nil || len(text) == 0 {
		t.Fatalf("with acknowledged commits the mark is %q, %v", text, err)
	}
	c = crash{must[[]byte](t)(os.ReadFile(path)), must[[]byte](t)(os.ReadFile(path + "-wal"))}
	mustClose(t, p)
	if _, err := os.Stat(path + ".mark"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after Close the mark is still there: %v", err)
	}
	return c, (len(c.wal) - before) / frameSize
}

const frameSize = walFrameBytes + 4096

// store writes the files, with a mark of the new database, and returns its path.
func (c crash) store(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	if err := os.WriteFile(path, c.db, 0o600); err != nil {
		t.Fatal(err)
	}
	if c.wal != nil {
		if err := os.WriteFile(path+"-wal", c.wal, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := markOf(path, must[os.FileInfo](t)(os.Stat(path))).write(); err != nil {
		t.Fatal(err)
	}
	return path
}

// commitsIn opens a database and returns the number of commits in its stream.
func commitsIn(t *testing.T, path string, opts *Options) (int, error) {
	t.Helper()
	p, err := Open(t.Context(), path, opts)
	if err != nil {
		return 0, err
	}
	defer mustClose(t, p)
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), "Test.Log"))
	return len(must[[]driver.Commit](t)(l.Load(t.Context(), "s", anySnapshot))), nil
}

// A write-ahead log that is missing or cut to nothing after a crash loses acknowledged
// commits. That is refused, until it is accepted once.
func TestLostWriteAheadLogIsRefused(t *testing.T) {
	t.Parallel()
	whole, _ := crashed(t, 20)
	if n, err := commitsIn(t, whole.store(t), nil); err != nil || n != 20 {
		t.Fatalf("after a crash there are %d commits, %v", n, err)
	}
	for name, wal := range map[string][]byte{
		"missing": nil, "empty": {}, "half a header": whole.wal[:16], "a header": whole.wal[:32], "half a frame": whole.wal[:32+frameSize/2],
		"zeros": make([]byte, len(whole.wal)), "another file": bytes.Repeat([]byte("diary "), 2000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := crash{whole.db, wal}.store(t)
			before := content(t, filepath.Dir(path))
			for range 2 {
				_, err := commitsIn(t, path, nil)
				if !errors.Is(err, driver.ErrDamaged) || !strings.Contains(err.Error(), path+"-wal") || !strings.Contains(err.Error(), "accept") {
					t.Fatalf("got %v, want an ErrDamaged that names the log and the way out", err)
				}
			}
			if after := content(t, filepath.Dir(path)); fmt.Sprint(sizes(after)) != fmt.Sprint(sizes(before)) {
				t.Errorf("the files have changed: %v, before %v", sizes(after), sizes(before))
			}
			if n, err := commitsIn(t, path, &Options{AcceptLoss: true}); err != nil || n != 0 {
				t.Fatalf("accepted: %d commits, %v", n, err)
			}
			if n, err := commitsIn(t, path, nil); err != nil || n != 0 {
				t.Errorf("after that: %d commits, %v", n, err)
			}
		})
	}
}

// A copy of the database has another inode: a mark that came with it says nothing about
// it. Nor does a mark that was being written.
func TestCopyOfADatabaseIsNotSuspected(t *testing.T) {
	t.Parallel()
	whole, _ := crashed(t, 5)
	original := whole.store(t)
	text := must[[]byte](t)(os.ReadFile(original + ".mark"))
	for _, mark := range [][]byte{text, text[:10], {}} {
		path := crash{whole.db, nil}.store(t)
		if err := os.WriteFile(path+".mark", mark, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := commitsIn(t, path, nil); err != nil || n != 0 {
			t.Errorf("a backup of the database alone: %d commits, %v", n, err)
		}
	}
	path := whole.store(t)
	if err := os.Remove(path + ".mark"); err != nil {
		t.Fatal(err)
	}
	if n, err := commitsIn(t, path, nil); err != nil || n != 5 {
		t.Errorf("a backup of both files: %d commits, %v", n, err)
	}
}

// A damaged frame before a later transaction was acknowledged, wherever the damage is. In
// the last transaction it may be what a crash leaves behind.
func TestDamageInTheWriteAheadLogIsRefused(t *testing.T) {
	t.Parallel()
	whole, last := crashed(t, 12)
	frames := (len(whole.wal) - walHeaderBytes) / frameSize
	if last < 1 || frames-last < 12 {
		t.Fatalf("the log has %d frames, the last transaction %d", frames, last)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	spoil := func(at int, change func(byte) byte) string {
		wal := bytes.Clone(whole.wal)
		wal[at] = change(wal[at])
		return crash{whole.db, wal}.store(t)
	}
	flip := func(b byte) byte { return b ^ 1<<random.IntN(8) }
	for at := range walHeaderBytes {
		if _, err := commitsIn(t, spoil(at, flip), nil); !errors.Is(err, driver.ErrDamaged) {
			t.Errorf("byte %d of the header changed: got %v, want an ErrDamaged", at, err)
		}
	}
	for n := range frames {
		begin := walHeaderBytes + n*frameSize
		for _, at := range []int{begin, begin + 8 + random.IntN(8), begin + 16 + random.IntN(8), begin + walFrameBytes + random.IntN(4096)} {
			got, err := commitsIn(t, spoil(at, flip), nil)
			// The end of a transaction is what the frame behind it is judged by. If that is
			// damaged in the transaction before the last one, its successor is no evidence.
			switch {
			case n >= frames-last:
				if err != nil || got != 11 {
					t.Errorf("frame %d of %d, byte %d, in the last transaction: %d commits, %v", n+1, frames, at-begin, got, err)
				}
			case n < frames-2*last:
				if !errors.Is(err, driver.ErrDamaged) || !strings.Contains(err.Error(), fmt.Sprintf("frame %d is damaged", n+1)) {
					t.Errorf("frame %d of %d, byte %d: %d commits, %v", n+1, frames, at-begin, got, err)
				}
			}
		}
	}
	// What was accepted is not found again, also not after another crash.
	p := mustOpen(t, spoil(walHeaderBytes+2*last*frameSize+100, flip), &Options{AcceptLoss: true})
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), "Test.Log"))
	if err := l.Append(t.Context(), commitOf("other", 1)); err != nil {
		t.Fatal(err)
	}
	again := crash{must[[]byte](t)(os.ReadFile(p.path)), must[[]byte](t)(os.ReadFile(p.path + "-wal"))}
	if _, err := commitsIn(t, again.store(t), nil); err != nil {
		t.Errorf("after the loss was accepted: %v", err)
	}
}

// What a power failure leaves of the last transaction is no damage: any of its frames may
// be missing or torn, also where its last one is there.
func TestTornLastTransactionIsNoDamage(t *testing.T) {
	t.Parallel()
	whole, last := crashed(t, 12)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	begin := len(whole.wal) - last*frameSize
	for range 40 {
		wal := bytes.Clone(whole.wal)
		for at := begin; at < len(wal); at += 512 {
			switch random.IntN(4) {
			case 0:
				clear(wal[at:min(at+512, len(wal))])
			case 1:
				for i := at; i < min(at+512, len(wal)); i++ {
					wal[i] = byte(random.Uint32())
				}
			}
		}
		if random.IntN(2) == 0 {
			wal = wal[:begin+random.IntN(len(wal)-begin)]
		}
		if n, err := commitsIn(t, crash{whole.db, wal}.store(t), nil); err != nil || n < 11 {
			t.Fatalf("a torn last transaction: %d commits, %v", n, err)
		}
	}
}

// The log contains frames that nothing refers to: of a transaction that was rolled back
// after SQLite had written a part of it, and of the time before the log began again. With
// a torn transaction before them they are no evidence of a later one.
func TestLeftoverFramesAreNoEvidence(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	c := must[*conn](t)(connect(fileURI(path, "mode=rwc"), "journal_mode=WAL", "synchronous=FULL", "cache_size=5", "wal_autocheckpoint=0"))
	defer func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
	}()
	run := func(script string) int64 {
		t.Helper()
		if err := c.script(script); err != nil {
			t.Fatal(err)
		}
		return must[os.FileInfo](t)(os.Stat(path + "-wal")).Size()
	}
	run("CREATE TABLE a (x)")
	insert := func(n int) string {
		return fmt.Sprintf("INSERT INTO a WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d) SELECT hex(randomblob(1500)) FROM n;", n)
	}
	check := func(what string, at int64) {
		t.Helper()
		whole := must[[]byte](t)(os.ReadFile(path + "-wal"))
		if problem := must[string](t)(inspectLog(path+"-wal", true)); problem != "" {
			t.Errorf("%s: %s", what, problem)
		}
		whole[at+walFrameBytes+7] ^= 1
		torn := filepath.Join(t.TempDir(), "torn")
		if err := os.WriteFile(torn, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if problem := must[string](t)(inspectLog(torn, true)); problem != "" {
			t.Errorf("%s, with a torn last transaction: %s", what, problem)
		}
	}
	committed := run("SELECT 1")
	spilled := run("BEGIN;" + insert(60) + "ROLLBACK")
	if spilled <= committed {
		t.Fatal("the transaction that was rolled back has written nothing")
	}
	if end := run("BEGIN;" + insert(5) + "COMMIT"); end != spilled {
		t.Fatal("the last transaction is not in the place of the one that was rolled back")
	}
	check("after a rollback", committed)
	run("PRAGMA wal_checkpoint(RESTART)")
	if end := run("BEGIN;" + insert(3) + "COMMIT"); end != spilled {
		t.Fatal("the log has not begun again")
	}
	check("after the log began again", walHeaderBytes)
}

// The mark is written before the first acknowledgement. Where that is impossible, writes
// fail as long as it is, although they may have taken effect.
func TestWritesAreNotAcknowledgedWithoutTheMark(t *testing.T) {
	t.Parallel()
	path := made(t)
	p := mustOpen(t, path, nil)
	l := must[driver.EventLog](t)(p.OpenEventLog(t.Context(), "Test.Log"))
	place := func(path string) {
		t.Helper()
		_ = p.write(t.Context(), func(x *tx) error { // it fails like the others while there is no place
			x.w.mark.path, x.w.mark.set = path, false
			return nil
		})
	}
	place(filepath.Join(t.TempDir(), "no", "mark"))
	if err := l.Append(t.Context(), commitOf("new", 1)); !errors.Is(err, driver.ErrUnavailable) {
		t.Fatalf("got %v, want an ErrUnavailable", err)
	}
	if got := must[[]driver.Commit](t)(l.Load(t.Context(), "new", anySnapshot)); len(got) != 1 || l.(*eventLog).head.Load() != 91 {
		t.Errorf("the commit is not seen: %d, position %d", len(got), l.(*eventLog).head.Load())
	}
	place(path + ".mark")
	if err := l.Append(t.Context(), commitOf("new", 2)); err != nil {
		t.Error(err)
	}
}

// The checksum is that of SQLite for both orders of bytes.
func TestChecksumsOfTheLogAreThoseOfSQLite(t *testing.T) {
	t.Parallel()
	whole, _ := crashed(t, 2)
	order, page, sum, ok := walHeader(whole.wal)
	if !ok || page != 4096 || order != binary.LittleEndian || sum != storedSum(whole.wal[24:]) {
		t.Errorf("the header is read as %v, %d, %v, %t", order, page, sum, ok)
	}
	big := bytes.Clone(whole.wal[:walHeaderBytes])
	binary.BigEndian.PutUint32(big, walMagic+1)
	sum = walSum{}.add(binary.BigEndian, big[:24])
	binary.BigEndian.PutUint32(big[24:], sum.a)
	binary.BigEndian.PutUint32(big[28:], sum.b)
	if order, _, _, ok := walHeader(big); !ok || order != binary.BigEndian {
		t.Error("a header of a machine with the other order is not read")
	}
}
