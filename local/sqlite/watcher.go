package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/reventless-go/reventless/driver"
)

const (
	// watchPause is how long changes of files are gathered before they are told.
	watchPause = 20 * time.Millisecond
	// watchRetry is when what could not be told is tried again.
	watchRetry = time.Second
)

// watcher tells the buckets what other hands do to their files. It is started
// with the first bucket.
type watcher struct {
	p      *Provider
	cancel context.CancelFunc
	ctx    context.Context // ends with the provider
	done   chan struct{}

	mu      sync.Mutex
	files   *fsnotify.Watcher // nil: not started
	buckets []*bucket
	cleaned bool
}

func newWatcher(p *Provider) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &watcher{p: p, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// prepare makes the directory in which objects are written, and removes from it
// what an earlier process left.
func (w *watcher) prepare(temp string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cleaned {
		return nil
	}
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	w.cleaned = true
	return makeDirs(temp)
}

// add watches a bucket.
func (w *watcher) add(b *bucket) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.files == nil {
		files, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("watch files: %w: %w", driver.ErrUnavailable, err)
		}
		w.files = files
		go w.run(files)
	}
	w.buckets = append(w.buckets, b)
	return w.addTree(w.files, b.dir)
}

// addTree watches a directory and those below it.
func (w *watcher) addTree(files *fsnotify.Watcher, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = files.Add(path)
		}
		if err != nil && !absent(err) {
			return fmt.Errorf("watch %s: %w: %w", path, driver.ErrUnavailable, err)
		}
		return nil
	})
}

// stop ends the watching.
func (w *watcher) stop() {
	w.cancel()
	w.mu.Lock()
	files := w.files
	w.mu.Unlock()
	if files != nil {
		<-w.done
		_ = files.Close() // nothing depends on it any more
	}
}

// run gathers events and has them looked into.
func (w *watcher) run(files *fsnotify.Watcher) {
	defer close(w.done)
	paths := map[string]bool{} // that changed
	all := false               // anything may have changed
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for armed := false; ; {
		select {
		case <-w.ctx.Done():
			return
		case e, ok := <-files.Events:
			if !ok {
				return
			}
			paths[e.Name] = true
		case _, ok := <-files.Errors:
			if !ok {
				return
			}
			all = true // events were lost, most likely
		case <-timer.C:
			armed = false
			pause := watchPause
			if err := w.look(files, paths, all); err != nil {
				pause = watchRetry // the database cannot be written, or a file not be seen
			} else {
				clear(paths)
				all = false
			}
			if len(paths) > 0 || all {
				timer.Reset(pause)
				armed = true
			}
			continue
		}
		if !armed {
			timer.Reset(watchPause)
			armed = true
		}
	}
}

// look looks into what may have changed.
func (w *watcher) look(files *fsnotify.Watcher, paths map[string]bool, all bool) error {
	w.mu.Lock()
	buckets := append([]*bucket(nil), w.buckets...)
	w.mu.Unlock()
	var errs []error
	for _, b := range buckets {
		if all {
			errs = append(errs, w.addTree(files, b.dir), b.scan(w.ctx))
			continue
		}
		if paths[b.dir] {
			// The directory itself, most likely removed.
			errs = append(errs, makeDirs(b.dir), w.addTree(files, b.dir), b.scan(w.ctx))
		}
		var changed []string
		for path := range paths {
			if rel, ok := strings.CutPrefix(path, b.dir+string(filepath.Separator)); ok {
				changed = append(changed, rel)
			}
		}
		errs = append(errs, w.lookInto(files, b, changed))
	}
	return errors.Join(errs...)
}

// lookInto looks into some paths below a bucket's directory.
func (w *watcher) lookInto(files *fsnotify.Watcher, b *bucket, changed []string) error {
	var keys []string
	for _, rel := range changed {
		path := filepath.Join(b.dir, rel)
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.IsDir():
			// New ones have files already, perhaps.
			if err := w.addTree(files, path); err != nil {
				return err
			}
			if err := b.scanDir(w.ctx, path); err != nil {
				return err
			}
		case err != nil && absent(err):
			// It may have been a directory, moved away with all that was in it.
			prefix := filepath.ToSlash(rel) + "/"
			if marked(prefix) {
				prefix = ""
			}
			if err := b.scanKnown(w.ctx, prefix); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if key, ok := keyOf(rel); ok {
			keys = append(keys, key)
		}
	}
	for len(keys) > 0 {
		page := keys[:min(len(keys), refreshPage)]
		keys = keys[len(page):]
		if err := b.refresh(w.ctx, page); err != nil {
			return err
		}
	}
	return nil
}
