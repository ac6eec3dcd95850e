//go:build linux

package powerloss

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// recording is what processes did to the files of a directory, one process after the
// other.
type recording struct {
	root   string
	events []event
	acks   []ack
	sent   []string

	calls int            // with a begin and an end, so far
	nodes int            // files so far; each has a number
	paths map[string]int // the files that exist, by path
	dirs  map[int]bool   // the files that are directories
}

func newRecording(root string) *recording {
	return &recording{root: root, paths: map[string]int{}, dirs: map[int]bool{}}
}

// event is a step of a recording.
type event struct {
	kind     string
	node     int // a file
	path, to string
	offset   int64
	data     []byte
	call     int // the number of a call that has a begin and an end
}

func (e event) String() string {
	return fmt.Sprintf("%s %s %s at %d, %d bytes", e.kind, filepath.Base(e.path), e.to, e.offset, len(e.data))
}

// replay is the state after some events.
type replay struct {
	disk  *disk
	nodes map[int]*inode
	calls map[int]int // by number: the change of a write, or the last change that a sync covers
	acks  int
}

func (r *replay) step(e event) {
	n := r.nodes[e.node]
	switch e.kind {
	case "create", "mkdir":
		r.nodes[e.node] = r.disk.create(e.path, e.kind == "mkdir")
	case "remove":
		r.disk.remove(e.path)
	case "rename":
		r.disk.rename(e.path, e.to)
	case "write":
		r.calls[e.call] = r.disk.write(n, e.offset, e.data)
	case "truncate":
		r.calls[e.call] = r.disk.truncate(n, e.offset)
	case "end":
		delete(n.running, r.calls[e.call])
	case "sync":
		if n == nil {
			r.calls[e.call] = r.disk.ops
		} else {
			r.calls[e.call] = r.disk.settled(n)
		}
	case "synced":
		n.sync(r.calls[e.call])
	case "failed":
		n.failSync(r.calls[e.call])
	case "synced directory":
		r.disk.syncDir(e.path, r.calls[e.call])
	case "ack":
		r.acks++
	default:
		panic(e.kind)
	}
}

// traced are the system calls that change files. A process that changes files with another
// one of them than [tracer.call] knows stops the test.
const traced = "open,openat,creat,write,pwrite64,writev,pwritev,pwritev2,sendfile,copy_file_range,splice," +
	"ftruncate,truncate,fallocate,fsync,fdatasync,sync_file_range,unlink,unlinkat,rmdir,rename,renameat,renameat2," +
	"link,linkat,symlinkat,mkdir,mkdirat,close,dup,dup2,dup3,mmap,msync"

// fault makes some system calls of each thread fail, as strace's "inject" describes it.
type fault struct{ calls, error, when string }

func (f fault) String() string { return fmt.Sprintf("%s:error=%s:when=%s", f.calls, f.error, f.when) }

// record runs a life of an App in a process of its own, and records its system calls, of
// which those of fault fail, if it is not nil. It returns the number of calls that failed
// by it, and how the process ended.
func (r *recording) record(t *testing.T, l life, f *fault) (failed int, _ error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	calls, inject := traced, []string(nil)
	if f != nil {
		calls, inject = calls+","+f.calls, []string{"-e", "inject=" + f.String()}
	}
	args := append([]string{"-f", "-qq", "--seccomp-bpf", "-xx", "-s", "100000000", "-e", "signal=none", "-e", "trace=" + calls, "-o", trace}, inject...)
	cmd := exec.Command("strace", append(args, self)...)
	cmd.Env = append(os.Environ(), roleVariable+"=write")
	cmd.Stdin = bytes.NewReader(in)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	ended := cmd.Run()
	if e := (*exec.ExitError)(nil); ended != nil && !errors.As(ended, &e) {
		t.Fatal(ended)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	printed := map[string]bool{}
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		kind, rest, _ := strings.Cut(lines.Text(), " ")
		switch kind {
		case "sent":
			r.sent = append(r.sent, rest)
		case "ack":
			var k ack
			if err := json.Unmarshal([]byte(rest), &k); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
			r.acks = append(r.acks, k)
			printed[lines.Text()] = true
		default:
			t.Fatalf("the writer printed %q", lines.Text())
		}
	}
	all, err := parse(string(text))
	if err == nil {
		err = r.add(all, printed)
	}
	if err != nil {
		t.Fatalf("the trace: %v", err)
	}
	if n := r.replay(len(r.events), nil).acks; n != len(r.acks) {
		t.Fatalf("the trace has %d acknowledgements, the output %d", n, len(r.acks))
	}
	if ended != nil {
		ended = fmt.Errorf("%w: %s", ended, log.String())
	}
	return bytes.Count(text, []byte("(INJECTED)")), ended
}

// kill returns the recording of what happened if the last process had been killed after
// the first n events, and changes the files of the directory to what they were then.
func (r *recording) kill(t *testing.T, n int) *recording {
	t.Helper()
	killed := newRecording(r.root)
	killed.calls, killed.sent = r.calls, r.sent
	running := map[int]event{}
	for _, e := range r.events[:n] {
		killed.emit(e)
		switch e.kind {
		case "write", "truncate":
			running[e.call] = e
		case "end":
			delete(running, e.call)
		}
	}
	for _, call := range slices.Sorted(maps.Keys(running)) {
		killed.emit(event{kind: "end", path: running[call].path, node: running[call].node, call: call})
	}
	now := killed.replay(n, nil)
	killed.acks = r.acks[:now.acks:now.acks]
	entries, err := os.ReadDir(r.root)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(r.root, e.Name())))
	}
	if err == nil {
		err = now.disk.image(nil, "everything").store(r.root, r.root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return killed
}

// emit appends an event.
func (r *recording) emit(e event) {
	switch e.kind {
	case "create", "mkdir":
		r.nodes++
		r.paths[e.path] = e.node
		r.dirs[e.node] = e.kind == "mkdir"
	case "remove":
		delete(r.paths, e.path)
	case "rename":
		r.paths[e.to] = r.paths[e.path]
		delete(r.paths, e.path)
	}
	r.events = append(r.events, e)
}

// replay returns the state after the first n events; visit, if not nil, is called with the
// state after each.
func (r *recording) replay(n int, visit func(i int, now *replay)) *replay {
	now := &replay{disk: newDisk(r.root), nodes: map[int]*inode{}, calls: map[int]int{}}
	for i, e := range r.events[:n] {
		now.step(e)
		if visit != nil {
			visit(i, now)
		}
	}
	return now
}

// same reports how the files of the directory differ from the replayed ones: a call that
// the recording misses, or misunderstands, would make the images meaningless.
func (r *recording) same() error {
	now := r.replay(len(r.events), nil)
	for path, n := range now.disk.names {
		if n.dir || strings.HasSuffix(path, "-shm") {
			continue // SQLite writes the index through its memory; it does not survive
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		recorded := n.content
		if strings.HasSuffix(path, ".mark") { // it may be of a file that was stored again after a kill
			content, recorded = named.ReplaceAll(content, nil), named.ReplaceAll(recorded, nil)
		}
		if !bytes.Equal(content, recorded) {
			return fmt.Errorf("%s has %d bytes, and %d other bytes in the recording", path, len(content), len(n.content))
		}
	}
	return filepath.WalkDir(r.root, func(path string, e os.DirEntry, err error) error {
		if err == nil && path != r.root && now.disk.names[path] == nil {
			err = fmt.Errorf("%s is not in the recording", path)
		}
		return err
	})
}

// call is a system call of a trace.
type call struct {
	name string
	args []string
	// begin and end are line numbers; end is 0 if the process ended before the call.
	begin, end int
	// result is what the call returned; negative if it failed.
	result int64

	h    *handle // the file of a call with a begin and an end
	call int     // its number
}

// parse reads the output of strace -f -xx.
func parse(trace string) ([]*call, error) {
	var calls []*call
	started := map[string]*call{}
	texts := map[*call]string{}
	for i, line := range strings.Split(strings.TrimSuffix(trace, "\n"), "\n") {
		thread, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimLeft(rest, " ")
		c := started[thread]
		switch {
		case strings.HasPrefix(rest, "+++"), strings.HasPrefix(rest, "---"), strings.HasPrefix(rest, "???"): // the end of a thread
			continue
		case strings.HasPrefix(rest, "<... "):
			_, more, ok := strings.Cut(rest, " resumed>")
			if c == nil || !ok {
				return nil, fmt.Errorf("the end of an unknown call in line %d: %.100s", i+1, line)
			}
			texts[c] += more
		default:
			name, args, ok := strings.Cut(rest, "(")
			if !ok {
				return nil, fmt.Errorf("no call in line %d: %.100s", i+1, line)
			}
			c = &call{name: name, begin: i + 1}
			calls = append(calls, c)
			texts[c] = args
			if begun, ok := strings.CutSuffix(args, " <unfinished ...>"); ok {
				texts[c] = begun
				started[thread] = c
				continue
			}
		}
		delete(started, thread)
		text := texts[c]
		end := strings.LastIndex(text, " = ")
		if end < 0 {
			return nil, fmt.Errorf("no result in line %d: %.100s", i+1, line)
		}
		texts[c] = strings.TrimSuffix(strings.TrimRight(text[:end], " "), ")")
		result, _, _ := strings.Cut(text[end+3:], " ")
		if result == "?" { // the process ended
			texts[c] = strings.TrimSuffix(texts[c], " <unfinished ...>")
			continue
		}
		var err error
		if c.result, err = strconv.ParseInt(result, 0, 64); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		c.end = i + 1
	}
	for c, text := range texts {
		c.args = strings.Split(text, ", ")
	}
	return calls, nil
}

// bytes returns an argument that is a string, which strace prints in hexadecimal.
func (c *call) bytes(i int) []byte {
	text, ok := strings.CutPrefix(c.args[i], `"`)
	text, ended := strings.CutSuffix(text, `"`)
	b, err := hex.DecodeString(strings.ReplaceAll(text, `\x`, ""))
	if !ok || !ended || err != nil {
		panic(fmt.Sprintf("%s: not a whole string: %.100s", c.name, c.args[i]))
	}
	return b
}

func (c *call) number(i int) int64 {
	n, err := strconv.ParseInt(c.args[i], 0, 64)
	if err != nil {
		panic(fmt.Sprintf("%s: not a number: %.100s", c.name, c.args[i]))
	}
	return n
}

// handle is an open file. Its path is that of its opening.
type handle struct {
	path   string
	node   int // 0 for a directory
	offset int64
}

// add appends the calls of a process to the events. printed are the acknowledgements that
// it printed.
func (r *recording) add(calls []*call, printed map[string]bool) error {
	at := map[int][]*call{} // by line
	for _, c := range calls {
		at[c.begin] = append(at[c.begin], c)
		if c.end > c.begin {
			at[c.end] = append(at[c.end], c)
		}
	}
	p := &process{recording: r, fds: map[int64]*handle{}, printed: printed}
	for _, line := range slices.Sorted(maps.Keys(at)) {
		for _, c := range at[line] {
			err := error(nil)
			if line == c.begin {
				err = p.begin(c)
			}
			if line == c.end && err == nil {
				err = p.end(c)
			}
			if err != nil {
				return fmt.Errorf("line %d: %s(%.300s): %w", line, c.name, c.args, err)
			}
		}
	}
	return nil
}

// process turns the calls of a process into events.
type process struct {
	*recording
	fds     map[int64]*handle
	printed map[string]bool
}

// handle returns the open file that is a call's first argument, nil if it is not one of
// the directory.
func (p *process) handle(c *call) *handle {
	fd, err := strconv.ParseInt(c.args[0], 0, 64)
	if err != nil {
		return nil
	}
	return p.fds[fd]
}

// begin handles the begin of a call: what it writes can be on the disk from now on.
func (p *process) begin(c *call) error {
	if c.name == "close" {
		delete(p.fds, c.number(0)) // before another thread gets the number
		return nil
	}
	h := p.handle(c)
	if c.name == "write" && h == nil && c.number(0) == 1 && p.printed[strings.TrimSuffix(string(c.bytes(1)), "\n")] {
		p.emit(event{kind: "ack"})
	}
	if c.end == 0 {
		return nil // the process ended during the call
	}
	if h == nil || strings.HasSuffix(c.name, "at") || c.result < 0 && !strings.HasSuffix(c.name, "sync") {
		return nil
	}
	p.calls++
	c.h, c.call = h, p.calls
	switch c.name {
	case "write":
		p.emit(event{kind: "write", path: h.path, node: h.node, offset: h.offset, data: c.bytes(1)[:c.result], call: c.call})
		h.offset += c.result
	case "pwrite64":
		p.emit(event{kind: "write", path: h.path, node: h.node, offset: c.number(3), data: c.bytes(1)[:c.result], call: c.call})
	case "ftruncate":
		p.emit(event{kind: "truncate", path: h.path, node: h.node, offset: c.number(1), call: c.call})
	case "fsync", "fdatasync":
		p.emit(event{kind: "sync", path: h.path, node: h.node, call: c.call})
	case "mmap", "pread64", "fstat":
	default:
		return errors.New("a call that is not replayed")
	}
	return nil
}

// end handles the end of a call.
func (p *process) end(c *call) error {
	switch c.name {
	case "write", "pwrite64", "ftruncate":
		if c.h != nil {
			p.emit(event{kind: "end", path: c.h.path, node: c.h.node, call: c.call})
		}
	case "fsync", "fdatasync":
		switch {
		case c.h == nil:
		case c.result < 0 && c.h.node != 0:
			p.emit(event{kind: "failed", path: c.h.path, node: c.h.node, call: c.call})
		case c.result < 0:
		case c.h.node != 0:
			p.emit(event{kind: "synced", path: c.h.path, node: c.h.node, call: c.call})
		default:
			p.emit(event{kind: "synced directory", path: c.h.path, call: c.call})
		}
	case "mmap":
		if fd := p.fds[c.number(4)]; fd != nil && !strings.HasSuffix(fd.path, "-shm") && strings.Contains(c.args[2], "PROT_WRITE") && strings.Contains(c.args[3], "MAP_SHARED") {
			return errors.New("writing through memory is not replayed")
		}
	case "open":
		return p.open(c, string(c.bytes(0)), c.args[1])
	case "openat":
		return p.open(c, p.path(c, 0), c.args[2])
	case "close", "pread64", "fstat", "newfstatat":
	default:
		if c.result < 0 {
			return nil
		}
		return p.change(c)
	}
	return nil
}

// path returns the path of the arguments i, a directory, and i+1.
func (p *process) path(c *call, i int) string {
	path := string(c.bytes(i + 1))
	if fd, err := strconv.ParseInt(c.args[i], 0, 64); err == nil && p.fds[fd] != nil {
		return filepath.Join(p.fds[fd].path, path)
	}
	return path
}

func (p *process) unlinked(c *call) string {
	if c.name == "unlink" {
		return string(c.bytes(0))
	}
	return p.path(c, 0)
}

func (p *process) inside(path string) bool { return strings.HasPrefix(path, p.root) }

func (p *process) open(c *call, path, flags string) error {
	if c.result < 0 || !p.inside(path) {
		return nil
	}
	node, ok := p.paths[path]
	if path == p.root || ok && p.dirs[node] {
		p.fds[c.result] = &handle{path: path}
		return nil
	}
	if !ok {
		if !strings.Contains(flags, "O_CREAT") {
			return errors.New("a file that was not created")
		}
		node = p.create("create", path)
	}
	p.fds[c.result] = &handle{path: path, node: node}
	if strings.Contains(flags, "O_TRUNC") || strings.Contains(flags, "O_APPEND") {
		return errors.New("a flag that is not replayed")
	}
	return nil
}

func (p *process) create(kind, path string) int {
	p.emit(event{kind: kind, path: path, node: p.nodes + 1})
	return p.nodes
}

// change handles a change of the entries of a directory.
func (p *process) change(c *call) error {
	switch c.name {
	case "mkdirat":
		if path := p.path(c, 0); p.inside(path) {
			p.create("mkdir", path)
		}
	case "unlink", "unlinkat":
		path := p.unlinked(c)
		if p.inside(path) {
			p.emit(event{kind: "remove", path: path})
		}
	case "renameat":
		if from, to := p.path(c, 0), p.path(c, 2); p.inside(from) {
			p.emit(event{kind: "rename", path: from, to: to})
		}
	default:
		for i, a := range c.args {
			if strings.HasPrefix(a, `"`) && p.inside(string(c.bytes(i))) {
				return errors.New("a call that is not replayed")
			}
		}
		if h := p.handle(c); h != nil {
			return errors.New("a call that is not replayed")
		}
	}
	return nil
}
