package sqlite

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/reventless-go/reventless/driver"
)

// The write-ahead log, as https://www.sqlite.org/fileformat2.html#walformat describes it:
// a header and frames of one page each. Every frame repeats two salts of the header, and
// has a checksum that continues that of the frame before it. The last frame of a
// transaction says so.
//
// After a crash SQLite uses the frames up to the first one that is not valid, and drops
// everything behind it without an error: usually that is a transaction that was being
// written. It is damage if a later transaction has begun behind it: that happens only
// after the sync of the earlier one, which had then been acknowledged.

const (
	walHeaderBytes = 32
	walFrameBytes  = 24 // of the header of a frame
	walMagic       = 0x377f0682
)

// walSum is the running checksum of a write-ahead log.
type walSum struct{ a, b uint32 }

// add continues a checksum with a number of bytes that is a multiple of 8.
func (s walSum) add(order binary.ByteOrder, data []byte) walSum {
	for ; len(data) >= 8; data = data[8:] {
		s.a += order.Uint32(data) + s.b
		s.b += order.Uint32(data[4:]) + s.a
	}
	return s
}

// inspectLog looks for acknowledged commits that SQLite would drop without an error, and
// returns what is wrong with the log; empty if nothing is. written says that a process has
// committed to the log since it was last empty. The error is that of reading the file.
func inspectLog(path string, written bool) (problem string, err error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if written {
			return "it is missing", nil
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // it is only read
	in := bufio.NewReaderSize(f, 1<<20)
	var header [walHeaderBytes]byte
	if n, err := io.ReadFull(in, header[:]); atEnd(err) {
		if written {
			return fmt.Sprintf("it has only %d bytes", n), nil
		}
		return "", nil
	} else if err != nil {
		return "", err
	}
	order, page, sum, ok := walHeader(header[:])
	if !ok {
		// Without the mark the header may be one that was being written: then everything
		// was in the database.
		if written {
			return "its header is damaged", nil
		}
		return "", nil
	}
	return inspectFrames(in, frames{order: order, page: page, sum: sum, salts: [8]byte(header[16:24]), frame: make([]byte, walFrameBytes+page)}, written)
}

func atEnd(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// walHeader reads the header; ok is false if it is damaged.
func walHeader(header []byte) (order binary.ByteOrder, page int, sum walSum, ok bool) {
	switch binary.BigEndian.Uint32(header) {
	case walMagic:
		order = binary.LittleEndian
	case walMagic + 1:
		order = binary.BigEndian
	default:
		return nil, 0, sum, false
	}
	page = int(binary.BigEndian.Uint32(header[8:]))
	sum = walSum{}.add(order, header[:24])
	return order, page, sum, sum == storedSum(header[24:]) && page >= 512 && page <= 1<<16 && page&(page-1) == 0
}

func storedSum(b []byte) walSum {
	return walSum{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// frames are the frames of a log while they are read.
type frames struct {
	order binary.ByteOrder
	page  int
	salts [8]byte
	sum   walSum // stored in the frame before, or in the header
	frame []byte
}

// next reads a frame. live is true if it has the salts of the log and continues the stored
// checksum of the frame before it; own is true if it has the salts.
func (f *frames) next(in io.Reader) (own, live, commit bool, err error) {
	if _, err := io.ReadFull(in, f.frame); err != nil {
		return false, false, false, err
	}
	h := f.frame
	own = [8]byte(h[8:16]) == f.salts
	stored := storedSum(h[16:])
	live = own && f.sum.add(f.order, h[:8]).add(f.order, h[walFrameBytes:]) == stored
	f.sum = stored
	return own, live, binary.BigEndian.Uint32(h[4:]) != 0, nil
}

// inspectFrames reads the frames.
func inspectFrames(in io.Reader, f frames, written bool) (problem string, err error) {
	damaged, before := 0, false // the first frame that is not valid; whether the frame before is the end of a transaction of this log
	for n := 1; ; n++ {
		own, live, commit, err := f.next(in)
		if atEnd(err) {
			if n == 1 && written {
				return "it has no frame", nil
			}
			return "", nil
		}
		if err != nil {
			return "", err
		}
		// A frame continues the checksum of the frame before it only if it was written
		// after it. What an aborted transaction left behind does not.
		if damaged > 0 && n > damaged && before && live {
			return fmt.Sprintf("frame %d is damaged, and frame %d belongs to a later transaction", damaged, n), nil
		}
		if !live && damaged == 0 {
			damaged = n
		}
		before = own && commit
	}
}

// errLoss returns the error for a log that would lose commits.
func errLoss(path, problem string) error {
	return fmt.Errorf("the write-ahead log %s-wal would lose acknowledged commits: %s. Restore the log, or all files from a backup. "+
		"To accept that the commits since the last checkpoint are lost, as after restoring the database alone, open it once with the option AcceptLoss (--accept-loss): %w",
		path, problem, driver.ErrDamaged)
}
