package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"
)

// client is one connection.
type client struct {
	order  *Requests
	number int
	conn   net.Conn
	in     *bufio.Reader
	random *rand.Rand
	line   [][]byte
	middle []byte // the text between the first line and the length of the body
	body   [][]byte
	want   []byte

	out, answer []byte
	good, bad   int
	first       string
	took        []uint32 // microseconds
}

func (o *Requests) run(ctx context.Context) (Report, error) {
	if o.Clients < 1 || o.IDs < o.Clients {
		return Report{}, fmt.Errorf("%d clients for %d ids", o.Clients, o.IDs)
	}
	clients := make([]*client, o.Clients)
	defer func() {
		for _, c := range clients {
			if c != nil {
				c.conn.Close() //nolint:errcheck // all responses have been read
			}
		}
	}()
	middle := " HTTP/1.1\r\nHost: " + o.Addr + "\r\n"
	for _, h := range o.Headers {
		middle += h + "\r\n"
	}
	if o.Body != "" {
		middle += "Content-Length: "
	} else {
		middle += "\r\n"
	}
	for i := range clients {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Addr)
		if err != nil {
			return Report{}, err
		}
		clients[i] = &client{
			order: o, number: i, conn: conn, in: bufio.NewReaderSize(conn, 4096), random: rand.New(rand.NewPCG(rand.Uint64(), uint64(i))),
			line: split(o.Line), middle: []byte(middle), body: split(o.Body), want: []byte(o.Want),
		}
	}
	start := now()
	end := start.Add(o.For)
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { c.work(end) })
	}
	wg.Wait()
	return summary(clients, now().Sub(start)), nil
}

func (c *client) work(end time.Time) {
	_ = c.conn.SetDeadline(end.Add(10 * time.Second)) // if the server hangs, the benchmark fails instead of hanging
	for at := now(); at.Before(end); {
		if err := c.exchange(); err != nil {
			c.bad++
			if c.first == "" {
				c.first = err.Error()
			}
			var wrong wrongAnswer
			if !errors.As(err, &wrong) {
				return // the connection is broken
			}
		} else {
			c.good++
		}
		done := now()
		c.took = append(c.took, uint32(done.Sub(at).Microseconds()))
		at = done
	}
}

// wrongAnswer is a response without the wanted status or text.
type wrongAnswer struct{ text string }

func (w wrongAnswer) Error() string { return w.text }

// exchange sends a request and reads its response.
func (c *client) exchange() error {
	c.request()
	if _, err := c.conn.Write(c.out); err != nil {
		return err
	}
	status, err := c.read()
	if err != nil {
		return err
	}
	if !bytes.Equal(status, []byte("200")) || !bytes.Contains(c.answer, c.want) {
		return wrongAnswer{fmt.Sprintf("status %s: %.300s", status, c.answer)}
	}
	return nil
}

func (c *client) request() {
	n := c.random.IntN(c.order.IDs)
	if c.order.Own {
		n = n/c.order.Clients*c.order.Clients + c.number // no other client has numbers with this remainder
		if n >= c.order.IDs {
			n = c.number
		}
	}
	id := func(to []byte) []byte { return strconv.AppendInt(append(to, c.order.Prefix...), int64(n), 10) }
	fill := func(to []byte, parts [][]byte) []byte {
		for i, p := range parts {
			if i > 0 {
				to = id(to)
			}
			to = append(to, p...)
		}
		return to
	}
	c.out = append(fill(c.out[:0], c.line), c.middle...)
	if c.order.Body == "" {
		return
	}
	length := (len(c.body) - 1) * len(id(c.answer[:0]))
	for _, p := range c.body {
		length += len(p)
	}
	c.out = append(strconv.AppendInt(c.out, int64(length), 10), "\r\n\r\n"...)
	c.out = fill(c.out, c.body)
}

// read reads a response into c.answer and returns its status.
func (c *client) read() (status []byte, err error) {
	line, err := c.headerLine()
	if err != nil {
		return nil, err
	}
	if len(line) < 12 {
		return nil, fmt.Errorf("not an HTTP response: %q", line)
	}
	var code [3]byte
	copy(code[:], line[9:12])
	length, chunked := 0, false
	for {
		if line, err = c.headerLine(); err != nil {
			return nil, err
		}
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil {
				return nil, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	c.answer = c.answer[:0]
	if !chunked {
		return code[:], c.take(length)
	}
	for {
		if line, err = c.headerLine(); err != nil {
			return nil, err
		}
		size, err := strconv.ParseInt(string(line), 16, 32)
		if err != nil {
			return nil, err
		}
		if err := c.take(int(size)); err != nil {
			return nil, err
		}
		if _, err := c.headerLine(); err != nil || size == 0 {
			return code[:], err
		}
	}
}

func (c *client) headerLine() ([]byte, error) {
	line, err := c.in.ReadSlice('\n')
	return bytes.TrimRight(line, "\r\n"), err
}

// take appends the next n bytes of the response to c.answer.
func (c *client) take(n int) error {
	at := len(c.answer)
	c.answer = append(c.answer, make([]byte, n)...)
	_, err := io.ReadFull(c.in, c.answer[at:])
	return err
}
