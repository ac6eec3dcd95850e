package sqlite

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"sync"

	"github.com/reventless-go/reventless/driver"
)

// Every entry of every table has a checksum in its column crc: a CRC-32C of the other
// columns, in the lower half of the number. docs/formats.md lists what the upper half has.
// A checksum is compared by every read that uses the entry, and by the check of the whole
// file. A number that SQLite assigns (the position of a commit, the number of a row) is
// not included, since it is not known before the write; what refers to it is checked.

// errChecksum is the cause of most damage.
var errChecksum = errors.New("wrong checksum")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// lowerHalf selects the lower half of a checksum.
const lowerHalf = 1<<32 - 1

// fields are the columns of an entry in an unambiguous form, in a buffer of buffers.
type fields struct{ buffer *[]byte }

// buffers keeps buffers for fields: most reads and writes compute a checksum.
var buffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 1<<10)
	return &b
}}

// fieldsOf begins the columns of an entry of a table.
func fieldsOf(table byte) fields {
	b := buffers.Get().(*[]byte)
	*b = append((*b)[:0], table)
	return fields{b}
}

func (f fields) int(n int64) fields {
	*f.buffer = binary.AppendVarint(*f.buffer, n)
	return f
}

func (f fields) text(s string) fields {
	*f.buffer = append(binary.AppendUvarint(*f.buffer, uint64(len(s))), s...)
	return f
}

// optional appends a text column that may be NULL, which v is then nil.
func (f fields) optional(v any) fields {
	if v == nil {
		return f.byte(0)
	}
	return f.byte(1).text(text(v))
}

// value appends a column of type ANY: a text or a number.
func (f fields) value(v any) fields {
	switch v := v.(type) {
	case float64:
		return f.float(v)
	case int64: // SQLite may store a whole number so
		return f.float(float64(v))
	}
	return f.byte(0).text(text(v))
}

func (f fields) float(v float64) fields {
	f.byte(1)
	*f.buffer = binary.BigEndian.AppendUint64(*f.buffer, math.Float64bits(v))
	return f
}

func (f fields) byte(b byte) fields {
	*f.buffer = append(*f.buffer, b)
	return f
}

// sum returns the checksum. f must not be used after it.
func (f fields) sum() int64 {
	sum := crc32.Checksum(*f.buffer, castagnoli)
	if cap(*f.buffer) <= 1<<16 {
		buffers.Put(f.buffer)
	}
	return int64(sum)
}

// The tags of the tables, so that an entry of one table is damage in another.
const (
	tagMeta byte = iota + 1
	tagName
	tagCommit
	tagFeed
	tagMessage
	tagSent
	tagSubscription
	tagWatermark
	tagTable
	tagRecord
	tagRow
	tagEntry
	tagCounter
	tagReference
	tagSchedule
	tagObject
	tagLetter
	tagOutcome
	tagVerification
)

func metaSum(key string, value int64) int64 { return fieldsOf(tagMeta).text(key).int(value).sum() }

func nameSum(id int64, kind, name string) int64 {
	return fieldsOf(tagName).int(id).text(kind).text(name).sum()
}

func feedSum(consumer, log, pos int64) int64 {
	return fieldsOf(tagFeed).int(consumer).int(log).int(pos).sum()
}

func messageSum(queue, id int64, group, head string, data any) int64 {
	return fieldsOf(tagMessage).int(queue).int(id).text(group).text(head).optional(data).sum()
}

func sentSum(message, queue int64, entity, command string, at int64) int64 {
	return fieldsOf(tagSent).int(message).int(queue).text(entity).text(command).int(at).sum()
}

func subscriptionSum(log int64, consumer string, queue int64) int64 {
	return fieldsOf(tagSubscription).int(log).text(consumer).int(queue).sum()
}

func tableSum(id int64, spec string) int64 {
	return fieldsOf(tagTable).int(id).text(spec).sum()
}

func recordSum(table int64, record string) int64 {
	return fieldsOf(tagRecord).int(table).text(record).sum()
}

// rowSum returns the checksum of a row. Its upper half is that of purge, which most reads
// do not need.
func rowSum(table int64, id, sub string, rev, expires int64, data string, purge int64) int64 {
	return rowBodySum(table, id, sub, rev, expires, data) | purgeSum(purge)
}

// rowBodySum returns the lower half of the checksum of a row.
func rowBodySum(table int64, id, sub string, rev, expires int64, data string) int64 {
	return fieldsOf(tagRow).int(table).text(id).text(sub).int(rev).int(expires).text(data).sum()
}

// purgeSum returns the upper half of the checksum of a row. It has 31 bits, so that the
// number is not negative.
func purgeSum(purge int64) int64 { return fieldsOf(tagRow).int(purge).sum() >> 1 << 32 }

func entrySum(index int64, key, sort any, id, sub string, n int64) int64 {
	return fieldsOf(tagEntry).int(index).value(key).value(sort).text(id).text(sub).int(n).sum()
}

func counterSum(counter int64, id string, count, target, finished, reached int64) int64 {
	return fieldsOf(tagCounter).int(counter).text(id).int(count).int(target).int(finished).int(reached).sum()
}

func referenceSum(counter int64, id string, target int64, ref string, at int64) int64 {
	return fieldsOf(tagReference).int(counter).text(id).int(target).text(ref).int(at).sum()
}

// scheduleSum returns the checksum of a schedule that is not deleted; see flagged.
func scheduleSum(name string, gen int64, expression, zone string, payload any, due int64) int64 {
	return fieldsOf(tagSchedule).text(name).int(gen).text(expression).text(zone).optional(payload).int(due).sum()
}

func letterSum(l driver.DeadLetter, at string) int64 {
	return fieldsOf(tagLetter).text(l.ID).text(l.Component).text(string(l.Kind)).text(l.Log).text(l.Stream).int(int64(l.SequenceNr)).
		text(string(l.Body)).text(l.Reason).int(int64(l.Attempts)).text(at).sum()
}

func outcomeSum(o driver.StoredOutcome, detail any, expires int64) int64 {
	return fieldsOf(tagOutcome).text(o.CommandID).text(string(o.Kind)).text(o.EntityID).int(int64(o.SequenceNr)).int(int64(o.EventCount)).
		text(o.Code).text(o.Message).optional(detail).int(expires).text(o.Target).text(o.User).int(int64(o.Fingerprint)).int(int64(o.Resend)).sum()
}

func verificationSum(id int64, state string) int64 {
	return fieldsOf(tagVerification).int(id).text(state).sum()
}

func objectSum(bucket int64, key string, size, modified int64) int64 {
	return fieldsOf(tagObject).int(bucket).text(key).int(size).int(modified).sum()
}

// watermarkSum returns the checksum of a watermark that is not blocked; see flagged. It is
// a sum of two, so that one statement can give many watermarks to another consumer, see
// movedBy.
func watermarkSum(consumer, log int64, stream string, seq int64) int64 {
	return (consumerSum(consumer) + fieldsOf(tagWatermark).int(log).text(stream).int(seq).sum()) & lowerHalf
}

func consumerSum(consumer int64) int64 { return fieldsOf(tagWatermark).int(consumer).sum() }

// movedBy returns what is added to the lower half of the checksum of a watermark that gets
// another consumer.
func movedBy(from, to int64) int64 { return (consumerSum(to) - consumerSum(from)) & lowerHalf }

// flagged returns the checksum of an entry with a flag (blocked, deleted), which its upper
// half repeats. So a statement can set the flag without knowing the other columns.
func flagged(sum, flag int64) int64 { return sum | flag<<32 }
