package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
)

func bucketFaults() []fault {
	// keyed maps keys to other ones.
	keyed := func(to func(string) string) plant {
		return on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error { return h.Bucket.Put(ctx, to(key), body) }
			h.OnGet = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, to(key))
				o.Key = key
				return r, o, err
			}
			h.OnDelete = func(ctx context.Context, key string) error { return h.Bucket.Delete(ctx, to(key)) }
		})
	}
	listing := func(list func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error)) plant {
		return on(func(h *faults.Bucket, _ *faulty) {
			h.OnList = func(ctx context.Context, prefix, after string, limit int) ([]driver.Object, error) {
				return list(ctx, h.Bucket, prefix, after, limit)
			}
		})
	}
	events := func(drop func(o *driver.ObjectEvent) bool) plant {
		return onMessages(func(o *driver.ObjectEvent, _ *faulty) bool { return drop(o) })
	}
	return []fault{
		{"ReadsOnce", "Bucket/PutThenGet", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				buf := make([]byte, 4<<20)
				n, err := body.Read(buf)
				if err != nil && err != io.EOF {
					return err
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(buf[:n]))
			}
		})},
		{"PutCreatesOnly", "Bucket/PutReplaces", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				if r, _, err := h.Bucket.Get(ctx, key); err == nil {
					_ = r.Close()
					return driver.ErrExists
				}
				return h.Bucket.Put(ctx, key, body)
			}
		})},
		{"KeepsAPart", "Bucket/AFailedPutChangesNothing", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				return errors.Join(h.Bucket.Put(ctx, key, bytes.NewReader(all)), err)
			}
		})},
		{"WritesInPlace", "Bucket/ReadersSeeWholeObjects", on(func(h *faults.Bucket, _ *faulty) {
			h.OnPut = func(ctx context.Context, key string, body io.Reader) error {
				all, err := io.ReadAll(body)
				if err != nil {
					return err
				}
				if r, _, err := h.Bucket.Get(ctx, key); err == nil {
					old, _ := io.ReadAll(r)
					_ = r.Close()
					half := min(len(all), len(old)) / 2
					_ = h.Bucket.Put(ctx, key, bytes.NewReader(slices.Concat(all[:half], old[half:])))
					others()
				}
				return h.Bucket.Put(ctx, key, bytes.NewReader(all))
			}
		})},
		{"ReadsTheCurrentContent", "Bucket/AnOpenObjectKeepsItsContent", on(func(h *faults.Bucket, _ *faulty) {
			h.OnGet = func(ctx context.Context, key string) (io.ReadCloser, driver.Object, error) {
				r, o, err := h.Bucket.Get(ctx, key)
				if err != nil {
					return nil, o, err
				}
				return &livingObject{ctx: ctx, b: h.Bucket, key: key, old: r}, o, nil
			}
		})},
		{"DeleteRemovesTheFolder", "Bucket/DeleteRemovesAnObject", on(func(h *faults.Bucket, _ *faulty) {
			h.OnDelete = func(ctx context.Context, key string) error {
				all, err := h.Bucket.List(ctx, key+"/", "", 100)
				for _, o := range all {
					err = errors.Join(err, h.Bucket.Delete(ctx, o.Key))
				}
				return errors.Join(err, h.Bucket.Delete(ctx, key))
			}
		})},
		{"DecodesPlus", "Bucket/KeysAreKeptApart", keyed(func(k string) string { return strings.ReplaceAll(k, "+", " ") })},
		{"CleansKeys", "Bucket/BadKeysAreRefused", keyed(func(k string) string { return strings.TrimPrefix(k, "/") })},
		{"LimitsBeforeThePrefix", "Bucket/ListIsAscendingAndBounded", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, "", after, limit)
			return slices.DeleteFunc(all, func(o driver.Object) bool { return !strings.HasPrefix(o.Key, prefix) }), err
		})},
		{"DecodesTheStart", "Bucket/PagesContinueAfterEveryKey", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			if decoded, err := url.QueryUnescape(after); err == nil {
				after = decoded
			}
			return b.List(ctx, prefix, after, limit)
		})},
		{"ListSaysNoSize", "Bucket/ObjectsAreDescribed", listing(func(ctx context.Context, b driver.Bucket, prefix, after string, limit int) ([]driver.Object, error) {
			all, err := b.List(ctx, prefix, after, limit)
			for i := range all {
				all[i].Size = 0
			}
			return all, err
		})},
		{"DoesNotPublishRemovals", "Bucket/EveryChangeIsDelivered", events(func(o *driver.ObjectEvent) bool { return o.Kind == driver.ObjectRemoved })},
		{"DeliversTheFirstOfQuickChanges", "Bucket/TheLastOfQuickChangesIsDelivered", func(w *faulty) {
			told := map[string]bool{}
			events(func(o *driver.ObjectEvent) bool {
				again := told[o.Key] && o.Version != "kept"
				told[o.Key] = true
				return again && o.Kind == driver.ObjectRemoved
			})(w)
		}},
		{"SharesAllBuckets", "Provider/SimilarNamesAreKeptApart", on(func(h *faults.Bucket, w *faulty) {
			if o, err := w.p.PullProvider.OpenBucket(context.Background(), "Test.All"); err == nil {
				h.OnPut, h.OnGet, h.OnDelete, h.OnList = o.Put, o.Get, o.Delete, o.List
			}
		})},
		{"LosesEventsWhenClosed", "Bucket/ObjectsSurviveReopening", func(w *faulty) {
			events(func(o *driver.ObjectEvent) bool { return w.session > 1 && o.Kind == driver.ObjectRemoved })(w)
		}},
	}
}

// livingObject reads what is stored when it is read.
type livingObject struct {
	ctx  context.Context
	b    driver.Bucket
	key  string
	old  io.ReadCloser
	read int
}

func (l *livingObject) Read(p []byte) (int, error) {
	if l.read == 0 {
		n, err := l.old.Read(p)
		l.read += n
		return n, err
	}
	r, _, err := l.b.Get(l.ctx, l.key)
	if err != nil {
		return 0, io.EOF
	}
	all, err := io.ReadAll(r)
	_ = r.Close()
	if err != nil || l.read >= len(all) {
		return 0, io.EOF
	}
	n := copy(p, all[l.read:])
	l.read += n
	return n, nil
}

func (l *livingObject) Close() error { return l.old.Close() }
