package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/reventless-go/reventless/driver"
)

const (
	// maxKeys bounds the document with the keys, in bytes.
	maxKeys = 1 << 20
	// Every token with a key that is not known, which anybody can make, has the keys
	// fetched again. The issuer must not be flooded through us: fetchBurst at once,
	// and then one in each fetchInterval. Keys that were fetched are there for all.
	fetchBurst    = 5
	fetchInterval = 5 * time.Second
)

// errSignature says that no key of the issuer has signed a token.
var errSignature = errors.New("not signed with a key of the issuer")

// keySet is an issuer's keys. They are fetched again when one is missing. The key
// set of go-oidc does so for each forged token, and may hand out keys that it had
// fetched before a token came.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time

	last atomic.Pointer[fetched]
	// Who sends here fetches; the fields below are theirs.
	fetching chan struct{}
	used     time.Time // when all fetches would have been, with one in each interval
}

// fetched is how a fetch went.
type fetched struct {
	nr   int
	keys []jose.JSONWebKey // of the last one that went well
	err  error
}

func newKeySet(url string, client *http.Client, now func() time.Time) *keySet {
	k := &keySet{url: url, client: client, now: now, fetching: make(chan struct{}, 1)}
	k.last.Store(&fetched{})
	return k
}

// verify returns what a token has signed. The error is [errSignature], or that the
// keys cannot be had.
func (k *keySet) verify(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(token, asymmetric)
	if err != nil {
		return nil, errSignature
	}
	had := k.last.Load()
	if payload, ok := had.verify(jws); ok {
		return payload, nil
	}
	got, err := k.fetch(ctx, had.nr)
	if err != nil {
		return nil, err
	}
	if payload, ok := got.verify(jws); ok {
		return payload, nil
	}
	return nil, errSignature
}

// verify tries the keys that the token names, or all when it names none.
func (f *fetched) verify(jws *jose.JSONWebSignature) ([]byte, bool) {
	header := jws.Signatures[0].Header
	for _, key := range f.keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// fetch fetches the keys, unless that was done since the fetch with the given
// number: callers that wait for it share what came of it.
func (k *keySet) fetch(ctx context.Context, since int) (*fetched, error) {
	select {
	case k.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", driver.ErrUnavailable, ctx.Err())
	}
	defer func() { <-k.fetching }()
	f := k.last.Load()
	if f.nr == since && k.mayFetch() {
		// For all callers: one that goes away does not end it.
		keys, err := k.get(context.WithoutCancel(ctx))
		if err != nil {
			keys = f.keys
		}
		f = &fetched{nr: f.nr + 1, keys: keys, err: err}
		k.last.Store(f)
	}
	return f, f.err
}

func (k *keySet) mayFetch() bool {
	now := k.now()
	// More than a burst ahead: the clock was set back.
	if ahead := k.used.Sub(now); ahead < 0 || ahead > fetchBurst*fetchInterval {
		k.used = now
	}
	if k.used.Sub(now) > (fetchBurst-1)*fetchInterval {
		return false
	}
	k.used = k.used.Add(fetchInterval)
	return true
}

func (k *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	unavailable := func(err error) error { return fmt.Errorf("%w: %w", driver.ErrUnavailable, brief{err}) }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, http.NoBody)
	if err != nil {
		return nil, unavailable(err)
	}
	req.Header.Set("Cache-Control", "no-cache")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, unavailable(err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	if closing := resp.Body.Close(); err == nil {
		err = closing
	}
	switch {
	case err != nil:
	case resp.StatusCode != http.StatusOK:
		err = fmt.Errorf("%s answers %s", k.url, resp.Status)
	case len(body) > maxKeys:
		err = fmt.Errorf("%s answers more than %d bytes", k.url, maxKeys)
	}
	if err != nil {
		return nil, unavailable(err)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, unavailable(fmt.Errorf("%s answers no list of keys: %w", k.url, err))
	}
	var keys []jose.JSONWebKey
	for _, text := range set.Keys {
		// Keys of kinds that are not known are not for us (RFC 7517, 5).
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.IsPublic() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, unavailable(fmt.Errorf("%s has no public key among %d", k.url, len(set.Keys)))
	}
	return keys, nil
}
