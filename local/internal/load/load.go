// Package load sends requests and subscriptions to an HTTP server, for benchmarks. It runs
// in a separate process, so that measurements of the server do not include the clients.
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

// Order is an instruction to the process. Exactly one of Requests, Watch, Expect and Await
// is set.
type Order struct {
	Requests *Requests `json:",omitempty"`
	Watch    *Watch    `json:",omitempty"`
	// Expect starts to search the messages of the subscriptions for a text. By is the
	// number of subscriptions that have to receive it; 0 means all. A later order with
	// Await waits until they have received it, at most for the duration Await.
	Expect string        `json:",omitempty"`
	By     int           `json:",omitempty"`
	Await  time.Duration `json:",omitempty"`
}

// Requests is an order to send as many requests as possible in a given time. Each client
// has one connection and sends its next request when it has received a response.
type Requests struct {
	// Addr is the server's HOST:PORT.
	Addr    string
	Clients int
	// For is how long the clients send requests.
	For time.Duration
	// Line is the request's first line without the version, and Headers are its headers
	// except Host and Content-Length. Each placeholder [ID] in Line and Body is replaced by
	// an id.
	Line    string
	Headers []string
	Body    string
	// An id is Prefix followed by a random number below IDs. With Own, no two clients use
	// the same number.
	Prefix string
	IDs    int
	Own    bool
	// Want is a text that the body of each response must contain.
	Want string
}

// ID is the placeholder of an id in a request.
const ID = "{id}"

// Report is the result of an order.
type Report struct {
	// Requests is the number of responses with status 200 and the wanted text, Errors the
	// number of all others. First is the first error.
	Requests, Errors int
	First            string `json:",omitempty"`
	Seconds          float64
	// P50 and P99 are percentiles of the response times.
	P50, P99 time.Duration
	// Missing is the number of subscriptions that did not receive the expected text.
	Missing int
}

// PerSecond returns the successful requests per second.
func (r Report) PerSecond() float64 { return float64(r.Requests) / r.Seconds }

// Watch is an order to open subscriptions by WebSocket and to keep them open. Document is
// a GraphQL subscription. Its variable id is set only if Prefix is not empty.
type Watch struct {
	Addr, Path string
	Headers    map[string]string
	Document   string
	Prefix     string
	// Connections is the number of connections, PerConnection that of the subscriptions on
	// each.
	Connections, PerConnection int
}

// now is the clock: load measures real time.
var now = time.Now

// Serve reads orders as JSON values from in and writes a Report for each to out, until in
// ends.
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

// percentile returns the value that a given part of the sorted values, in microseconds,
// does not exceed.
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

// split splits a text at the placeholders [ID].
func split(text string) [][]byte { return bytes.Split([]byte(text), []byte(ID)) }
