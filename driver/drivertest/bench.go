package drivertest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/driver"
)

// OpenBench returns a new, empty provider for a benchmark and registers its cleanup
// with b.
type OpenBench func(b *testing.B) driver.Provider

// BenchEventLog measures a [driver.EventLog]: appends of 1 client and of 64
// clients, each to its own stream, and Load with and without a snapshot near
// the end.
func BenchEventLog(b *testing.B, open OpenBench) {
	for _, clients := range []int{1, 64} {
		b.Run(fmt.Sprintf("Append/clients=%d", clients), func(b *testing.B) { benchAppend(b, open(b), clients) })
	}
	for _, every := range []int{0, 100} {
		b.Run(fmt.Sprintf("Load/commits=500/snapshotEvery=%d", every), func(b *testing.B) { benchLoad(b, open(b), every) })
	}
}

// benchCommit returns a commit of about 400 bytes.
func benchCommit(stream string, n uint64) driver.Commit {
	c := commitOf(stream, n, "bench")
	c.Events[0].Data = json.RawMessage(`{"name":"` + strings.Repeat("x", 200) + `"}`)
	return c
}

func benchAppend(b *testing.B, p driver.Provider, clients int) {
	l, err := p.OpenEventLog(b.Context(), "Bench.Log")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			stream := fmt.Sprintf("s%d", i)
			for n := uint64(1); n <= uint64((b.N+clients-1-i)/clients); n++ {
				if err := l.Append(b.Context(), benchCommit(stream, n)); err != nil {
					b.Errorf("append %s at %d: %v", stream, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
}

func benchLoad(b *testing.B, p driver.Provider, snapshotEvery int) {
	l, err := p.OpenEventLog(b.Context(), "Bench.Log")
	if err != nil {
		b.Fatal(err)
	}
	const commits = 510
	for n := uint64(1); n <= commits; n++ {
		c := benchCommit("s", n)
		if snapshotEvery > 0 && n%uint64(snapshotEvery) == 0 {
			c = withSnapshot(c, 1)
		}
		if err := l.Append(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
	want := commits
	if snapshotEvery > 0 {
		want = commits%snapshotEvery + 1
	}
	b.ReportAllocs()
	for b.Loop() {
		cs, err := l.Load(b.Context(), "s", ofVersion(1))
		if err != nil || len(cs) != want {
			b.Fatalf("Load = %d commits, %v, want %d", len(cs), err, want)
		}
	}
}
