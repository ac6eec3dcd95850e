package driver

import (
	"context"
	"io"
	"time"
)

// Bucket stores objects.
//
// An [ObjectEvent] is delivered for every object that is put or removed, through
// this interface or by another program. Several changes to one key in quick
// succession may be delivered as fewer events, but the last change is always
// delivered. Events are grouped by key.
//
// A key is 1 to 1,024 bytes of valid UTF-8 without control characters and without a
// leading or trailing slash; none of its segments is empty, "." or "..". Any other
// key is [ErrInvalid].
type Bucket interface {
	// Put stores an object under key and replaces an existing one. A reader sees
	// either the old or the new content, never a mixture. If body fails, Put
	// returns its error and changes nothing.
	Put(ctx context.Context, key string, body io.Reader) error

	// Get opens an object; the caller closes it. If there is no object, the error is
	// [ErrNotFound].
	Get(ctx context.Context, key string) (io.ReadCloser, Object, error)

	// Delete removes an object. If there is no object, it returns nil.
	Delete(ctx context.Context, key string) error

	// List returns up to limit objects whose keys start with prefix and are
	// greater than after, ascending by key. If there are none, it returns nil, nil.
	List(ctx context.Context, prefix, after string, limit int) ([]Object, error)
}

// Object describes a stored object.
type Object struct {
	Key        string
	Size       int64
	ModifiedAt time.Time
}

// ObjectEventKind is the kind of an object event.
type ObjectEventKind string

// The kinds of object events.
const (
	ObjectCreated ObjectEventKind = "Created"
	ObjectRemoved ObjectEventKind = "Removed"
)

// ObjectEvent reports that an object was created, replaced or removed.
type ObjectEvent struct {
	Kind ObjectEventKind
	// Key is the object's key, without the provider's encoding.
	Key string
	// Version differs for each change of a key.
	Version string
}
