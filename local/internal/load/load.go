// Package load loads an HTTP server with requests and subscriptions, from a
// process of its own: what the clients cost is not counted as the server's. It is
// for benchmarks.
package load

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// Order is what the process is told to do next. One of its members is set.
type Order struct {
	Requests *Requests `json:",omitempty"`
	Watch    *Watch    `json:",omitempty"`
	// Expect begins to look for a text in the messages of the subscriptions; Await
	// then waits until By of them have seen it, 0 is all, and for so long at most.
	Expect string        `json:",omitempty"`
	By     int           `json:",omitempty"`
	Await  time.Duration `json:",omitempty"`
}

// Requests asks for requests, as many as there is time for. Each of the clients
// has a connection, and sends its next request when it has the answer.
type Requests struct {
	// Addr is the server's HOST:PORT.
	Addr    string
	Clients int
	// For is how long.
	For time.Duration
	// Line is the request's first line without the version, Headers are its headers
	// beside Host and Content-Length. ID in Line and Body stands for an id.
	Line    string
	Headers []string
	Body    string
	// Prefix and IDs make the ids: Prefix, and a random number below IDs. With Own
	// a client takes only numbers of its own.
	Prefix string
	IDs    int
	Own    bool
	// Want is what the body of each answer contains.
	Want string
}

// ID is what stands for an id in a request.
const ID = "{id}"

// Report is what the process answers.
type Report struct {
	// Requests are those that were answered with status 200 and what was wanted;
	// Errors all others. First is the first of those.
	Requests, Errors int
	First            string `json:",omitempty"`
	Seconds          float64
	// P50 and P99 are how long requests took.
	P50, P99 time.Duration
	// Missing are the subscriptions that did not see what was awaited.
	Missing int
}

// PerSecond is how many requests were answered in a second.
func (r Report) PerSecond() float64 { return float64(r.Requests) / r.Seconds }

// Watch opens subscriptions by WebSocket, and keeps them. Document is a
// subscription with one variable, id; it is empty with no Prefix.
type Watch struct {
	Addr, Path string
	Headers    map[string]string
	Document   string
	Prefix     string
	// Connections each have PerConnection subscriptions.
	Connections, PerConnection int
}

// now is the clock; what is measured here is real time.
var now = time.Now

// Serve takes orders, JSON values, from in and answers each with a Report on out,
// until in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	orders, reports := json.NewDecoder(in), json.NewEncoder(out)
	var w watchers
	defer w.close()
	for {
		var o Order
		if err := orders.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("load: order: %w", err)
		}
		var r Report
		var err error
		switch {
		case o.Requests != nil:
			r, err = o.Requests.run(ctx)
		case o.Watch != nil:
			err = w.open(ctx, *o.Watch)
		case o.Expect != "":
			w.expect(o.Expect, o.By)
		case o.Await > 0:
			r = w.await(ctx, o.Await)
		}
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
		if err := reports.Encode(r); err != nil {
			return fmt.Errorf("load: report: %w", err)
		}
	}
}

// percentile returns the value below which a part of the sorted values is.
func percentile(sorted []uint32, part float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return time.Duration(sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]) * time.Microsecond
}

func summary(clients []*client, took time.Duration) Report {
	r := Report{Seconds: took.Seconds()}
	var all []uint32
	for _, c := range clients {
		r.Requests += c.good
		r.Errors += c.bad
		if r.First == "" {
			r.First = c.first
		}
		all = append(all, c.took...)
	}
	slices.Sort(all)
	r.P50, r.P99 = percentile(all, 0.5), percentile(all, 0.99)
	return r
}

// split cuts a text at the ids in it.
func split(text string) [][]byte { return bytes.Split([]byte(text), []byte(ID)) }
