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
	// watchDelay is how long file changes are collected before they are reported.
	watchDelay = 20 * time.Millisecond
	// watchRetry is the delay before a failed report is retried.
	watchRetry = time.Second
)

// watcher watches the directories of the buckets and reports changes that other
// programs make to their files. It starts when the first bucket is added.
type watcher struct {
	p      *Provider
	cancel context.CancelFunc
	ctx    context.Context // ends with the provider
	done   chan struct{}

	mu      sync.Mutex
	files   *fsnotify.Watcher // nil until started
	buckets []*bucket
	cleaned bool
}

func newWatcher(p *Provider) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	return &watcher{p: p, ctx: ctx, cancel: cancel, done: make(chan struct{})}
}

// prepare creates the directory in which new objects are written and removes the
// files that an earlier process left there.
func (w *watcher) prepare(temp string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cleaned {
		return nil
	}
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := w.p.dirs.make(temp); err != nil {
		return err
	}
	w.cleaned = true
	return nil
}

// add starts to watch a bucket.
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

// addTree watches a directory and its subdirectories.
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

// stop stops the watcher and waits until it no longer reports changes.
func (w *watcher) stop() {
	w.cancel()
	w.mu.Lock()
	files := w.files
	w.mu.Unlock()
	if files != nil {
		<-w.done
		_ = files.Close() // the result no longer matters
	}
}

// run collects events and handles them in batches.
func (w *watcher) run(files *fsnotify.Watcher) {
	defer close(w.done)
	paths := map[string]bool{} // changed paths
	all := false               // whether any path may have changed
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
			all = true // events were probably lost
		case <-timer.C:
			armed = false
			if err := w.handle(files, paths, all); err != nil {
				// The database cannot be written, or a file cannot be read.
				timer.Reset(watchRetry)
				armed = true
			} else {
				clear(paths)
				all = false
			}
			continue
		}
		if !armed {
			timer.Reset(watchDelay)
			armed = true
		}
	}
}

// handle synchronizes the buckets with the changed paths.
func (w *watcher) handle(files *fsnotify.Watcher, paths map[string]bool, all bool) error {
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
			// The bucket's directory was probably removed.
			errs = append(errs, w.p.dirs.make(b.dir), w.addTree(files, b.dir), b.scan(w.ctx))
		}
		var changed []string
		for path := range paths {
			if rel, ok := strings.CutPrefix(path, b.dir+string(filepath.Separator)); ok {
				changed = append(changed, rel)
			}
		}
		errs = append(errs, w.handleBucket(files, b, changed))
	}
	return errors.Join(errs...)
}

// handleBucket synchronizes a bucket with changed paths below its directory.
func (w *watcher) handleBucket(files *fsnotify.Watcher, b *bucket, changed []string) error {
	var keys []string
	for _, rel := range changed {
		path := filepath.Join(b.dir, rel)
		info, err := os.Lstat(path)
		switch {
		case err == nil && info.IsDir():
			// A new directory may already contain files.
			if err := w.addTree(files, path); err != nil {
				return err
			}
			if err := b.scanDir(w.ctx, path); err != nil {
				return err
			}
		case err != nil && absent(err):
			// The path may have been a directory that was moved with its files.
			prefix := filepath.ToSlash(rel) + "/"
			if escaped(prefix) {
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
