package driver

import (
	"context"
	"io"
	"time"
)

// Bucket holds files.
//
// For every object that was put or removed, by this interface or by another
// program, an [ObjectEvent] is delivered; several changes to one key in short
// succession may be delivered as fewer, the last of them always. The groups of
// these deliveries are the keys.
//
// A key is 1 to 1,024 bytes of valid UTF-8, without control characters, without
// a leading or trailing slash, and none of its segments is empty, "." or "..";
// any other is [ErrInvalid].
type Bucket interface {
	// Put stores an object under key, replacing what is there. A reader sees the
	// old or the new content as a whole, never a part. When body fails, its
	// error is returned and nothing is changed.
	Put(ctx context.Context, key string, body io.Reader) error

	// Get opens an object; the caller closes it. [ErrNotFound] when there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, Object, error)

	// Delete removes an object; absent is nil.
	Delete(ctx context.Context, key string) error

	// List returns up to limit objects whose keys start with prefix and are
	// greater than after, ascending by key; none is nil, nil.
	List(ctx context.Context, prefix, after string, limit int) ([]Object, error)
}

// Object describes a stored object.
type Object struct {
	Key        string
	Size       int64
	ModifiedAt time.Time
}

// ObjectEventKind is what happened to an object.
type ObjectEventKind string

// The kinds of object events.
const (
	ObjectCreated ObjectEventKind = "Created"
	ObjectRemoved ObjectEventKind = "Removed"
)

// ObjectEvent says that an object came or went.
type ObjectEvent struct {
	Kind ObjectEventKind
	// Key is the decoded key.
	Key string
	// Version tells one change of a key from another.
	Version string
}
