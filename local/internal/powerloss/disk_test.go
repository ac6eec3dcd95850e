//go:build linux

package powerloss

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

// sectorBytes is what a disk writes as a whole: a power failure leaves the old or the new
// content of a sector.
const sectorBytes = 512

// disk is a directory as a process sees it, together with what is certainly on the disk:
// the content of a file at its last sync, and the entries of a directory at its last sync.
// Everything since then is pending: any part of it may be on the disk, in any order.
type disk struct {
	root  string
	ops   int // number of changes so far; each change has a number
	names map[string]*inode
	// synced are the entries that are certainly on the disk.
	synced map[string]*inode
	moves  []move
}

// inode is a file, or a directory if dir is set.
type inode struct {
	dir     bool
	content []byte
	// synced is the content that is certainly on the disk.
	synced  []byte
	sizes   []size
	sectors map[int64][]sector // by number
	// running are the writes that have begun and not ended: a sync does not cover them.
	running map[int]bool
}

// size is a pending size of a file.
type size struct {
	op    int
	bytes int64
}

// sector is a pending content of a sector.
type sector struct {
	op   int
	data [sectorBytes]byte
	// doomed is set by a sync that failed: the system takes the sector for written, so a
	// later sync does not write it.
	doomed bool
}

// move is a pending change of the entries of one directory. An entry without an inode is
// removed.
type move struct {
	op      int
	dir     string
	entries map[string]*inode
}

func newDisk(root string) *disk {
	return &disk{root: root, names: map[string]*inode{}, synced: map[string]*inode{}}
}

func (d *disk) next() int {
	d.ops++
	return d.ops
}

// enter changes the entries of a directory.
func (d *disk) enter(dir string, entries map[string]*inode) {
	for name, n := range entries {
		if n == nil {
			delete(d.names, name)
		} else {
			d.names[name] = n
		}
	}
	d.moves = append(d.moves, move{d.next(), dir, entries})
}

func (d *disk) create(path string, dir bool) *inode {
	n := &inode{dir: dir, sectors: map[int64][]sector{}, running: map[int]bool{}}
	d.enter(filepath.Dir(path), map[string]*inode{path: n})
	return n
}

func (d *disk) remove(path string) {
	d.enter(filepath.Dir(path), map[string]*inode{path: nil})
}

func (d *disk) rename(from, to string) {
	n := d.names[from]
	if filepath.Dir(from) == filepath.Dir(to) {
		d.enter(filepath.Dir(to), map[string]*inode{from: nil, to: n})
		return
	}
	d.enter(filepath.Dir(to), map[string]*inode{to: n})
	d.remove(from)
}

// syncDir makes the entries of a directory certain, as changed up to last.
func (d *disk) syncDir(dir string, last int) {
	var rest []move
	for _, m := range d.moves {
		if m.dir != dir || m.op > last {
			rest = append(rest, m)
			continue
		}
		apply(d.synced, m)
	}
	d.moves = rest
}

func apply(names map[string]*inode, m move) {
	for name, n := range m.entries {
		if n == nil {
			delete(names, name)
		} else {
			names[name] = n
		}
	}
}

// write begins a write; the caller ends it.
func (d *disk) write(n *inode, offset int64, data []byte) (op int) {
	op = d.next()
	n.running[op] = true
	end := offset + int64(len(data))
	before := int64(len(n.content))
	if end > before {
		n.content = append(n.content, make([]byte, end-before)...)
		n.sizes = append(n.sizes, size{op: op, bytes: end})
	}
	copy(n.content[offset:], data)
	n.note(op, offset, end)
	return op
}

func (d *disk) truncate(n *inode, bytes int64) (op int) {
	op = d.next()
	n.running[op] = true
	before := int64(len(n.content))
	n.sizes = append(n.sizes, size{op: op, bytes: bytes})
	if bytes > before {
		n.content = append(n.content, make([]byte, bytes-before)...)
	} else {
		n.content = slices.Clone(n.content[:bytes])
		n.note(op, bytes, before)
	}
	return op
}

// note records the content of the sectors of a range as pending.
func (n *inode) note(op int, from, to int64) {
	for at := from / sectorBytes; at*sectorBytes < to; at++ {
		s := sector{op: op}
		if at*sectorBytes < int64(len(n.content)) {
			copy(s.data[:], n.content[at*sectorBytes:])
		}
		n.sectors[at] = append(n.sectors[at], s)
	}
}

// settled returns the number of the last change up to which all have ended.
func (d *disk) settled(n *inode) int {
	last := d.ops
	for op := range n.running {
		last = min(last, op-1)
	}
	return last
}

// sync ends a sync that began when the changes up to last had ended.
func (n *inode) sync(last int) {
	for _, s := range n.sizes {
		if s.op <= last {
			n.synced = resized(n.synced, s.bytes)
		}
	}
	n.sizes = slices.DeleteFunc(n.sizes, func(s size) bool { return s.op <= last })
	for at, versions := range n.sectors {
		newest := -1
		for i, s := range versions {
			if s.op <= last && !s.doomed {
				newest = i
			}
		}
		if newest < 0 {
			continue
		}
		if begin := at * sectorBytes; begin < int64(len(n.synced)) {
			copy(n.synced[begin:], versions[newest].data[:])
		}
		if versions = versions[newest+1:]; len(versions) == 0 {
			delete(n.sectors, at)
		} else {
			n.sectors[at] = versions
		}
	}
}

// failSync ends a sync that failed.
func (n *inode) failSync(last int) {
	for _, versions := range n.sectors {
		for i := range versions {
			if versions[i].op <= last {
				versions[i].doomed = true
			}
		}
	}
}

func resized(content []byte, bytes int64) []byte {
	if bytes <= int64(len(content)) {
		return content[:bytes:bytes]
	}
	return append(content, make([]byte, bytes-int64(len(content)))...)
}

// image is a directory as a power failure may leave it: its files and directories, by
// path.
type image struct {
	files map[string][]byte
	dirs  []string
	kept  string // what was kept of the pending changes, for reports
}

// ways are the kinds of images.
var ways = []string{"nothing", "everything", "prefix", "subset", "torn", "one lost", "one kept"}

// image returns what a power failure now leaves.
func (d *disk) image(random *rand.Rand, way string) *image {
	pending := d.pending()
	kept := map[int]bool{}
	keep := func(f func(i int) bool) {
		for i, op := range pending {
			if f(i) {
				kept[op] = true
			}
		}
	}
	one, half, share := 0, 0, 0.0
	if random != nil {
		share = random.Float64()
		one = random.IntN(max(1, len(pending)))
	}
	torn := false // sectors of kept changes can be lost, too, or older than others
	switch way {
	case "nothing":
	case "everything":
		keep(func(int) bool { return true })
	case "prefix": // the next change is kept in part
		keep(func(i int) bool { return i <= one })
		if len(pending) > 0 {
			half = pending[one]
		}
	case "subset":
		keep(func(int) bool { return random.Float64() < share })
	case "torn":
		torn = true
		keep(func(int) bool { return random.Float64() < share })
	case "one lost":
		keep(func(i int) bool { return i != one })
	case "one kept":
		keep(func(i int) bool { return i == one })
	}
	names := maps.Clone(d.synced)
	for _, m := range d.moves {
		if kept[m.op] {
			apply(names, m)
		}
	}
	img := &image{files: map[string][]byte{}, kept: fmt.Sprintf("%s, %d of %d pending changes", way, len(kept), len(pending))}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		n := names[path]
		if parent := filepath.Dir(path); parent != d.root && (names[parent] == nil || !names[parent].dir) {
			delete(names, path)
			continue
		}
		if n.dir {
			img.dirs = append(img.dirs, path)
		} else {
			img.files[path] = n.image(random, kept, half, torn)
		}
	}
	return img
}

// pending returns the numbers of the pending changes, in their order.
func (d *disk) pending() []int {
	ops := map[int]bool{}
	inodes := map[*inode]bool{}
	for _, n := range d.synced {
		inodes[n] = true
	}
	for _, m := range d.moves {
		ops[m.op] = true
		for _, n := range m.entries {
			if n != nil {
				inodes[n] = true
			}
		}
	}
	for n := range inodes {
		for _, s := range n.sizes {
			ops[s.op] = true
		}
		for _, versions := range n.sectors {
			for _, s := range versions {
				ops[s.op] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ops))
}

// image returns the content of a file that keeps some of the pending changes, and of the
// change half only some sectors. If torn is set, each sector has any of its kept contents.
func (n *inode) image(random *rand.Rand, kept map[int]bool, half int, torn bool) []byte {
	bytes := int64(len(n.synced))
	for _, s := range n.sizes {
		if kept[s.op] {
			bytes = s.bytes
		}
	}
	content := slices.Clone(n.synced)
	if grown := bytes - int64(len(content)); grown > 0 && torn && random.IntN(2) == 0 {
		// The size is on the disk, the content is not: it may be anything.
		junk := make([]byte, grown)
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		content = append(content, junk...)
	}
	content = resized(content, bytes)
	for _, at := range slices.Sorted(maps.Keys(n.sectors)) {
		var choice []sector
		for _, s := range n.sectors[at] {
			if kept[s.op] && (s.op != half || random.IntN(2) == 0) {
				choice = append(choice, s)
			}
		}
		if len(choice) == 0 || at*sectorBytes >= bytes {
			continue
		}
		newest := choice[len(choice)-1]
		if torn {
			i := random.IntN(len(choice) + 1)
			if i == len(choice) {
				continue
			}
			newest = choice[i]
		}
		copy(content[at*sectorBytes:], newest.data[:])
	}
	return content
}

// store writes the image to a directory.
func (i *image) store(root, to string) error {
	path := func(p string) string { return filepath.Join(to, strings.TrimPrefix(p, root)) }
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	for _, dir := range i.dirs {
		if err := os.MkdirAll(path(dir), 0o700); err != nil {
			return err
		}
	}
	for name, content := range i.files {
		if err := os.WriteFile(path(name), content, 0o600); err != nil {
			return err
		}
	}
	return i.adopt(path)
}

// named is the part of a mark (see package sqlite) that names the database.
var named = regexp.MustCompile(`device \d+ inode \d+`)

// adopt changes the marks of the image to the inodes of the stored databases: those of the
// recorded ones would be ignored.
func (i *image) adopt(path func(string) string) error {
	for name, content := range i.files {
		database, ok := strings.CutSuffix(name, ".mark")
		if !ok {
			continue
		}
		info, err := os.Stat(path(database))
		if err != nil {
			return err
		}
		s, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s has no inode", database)
		}
		text := named.ReplaceAll(content, fmt.Appendf(nil, "device %d inode %d", s.Dev, s.Ino))
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}
