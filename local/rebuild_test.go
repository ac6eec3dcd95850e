package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/local/sqlite"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

type weight struct {
	Grams int `json:"grams"`
}

// scales is an App whose read model Weights multiplies what its version says.
func scales(version int) *reventless.App {
	scale := aggregate.New(aggregate.Spec[notes, noteCommand, noteEvent]{
		Name: "Scale", Commands: message.NewSet[noteCommand](note{}), Events: message.NewSet[noteEvent](noted{}),
		Decide: func(_ notes, c noteCommand) ([]noteEvent, error) { return []noteEvent{noted(c.(note))}, nil },
		Evolve: func(s notes, _ noteEvent) notes { return notes{s.Count + 1} },
	})
	weights := readmodel.New(readmodel.Spec[weight]{
		Name: "Weights", Version: version, Indexes: []readmodel.Index{{Name: "byGrams", Key: "grams"}},
		Projections: readmodel.Projections[weight]{readmodel.On(scale, func(e message.Event[noteEvent]) readmodel.Changes[weight] {
			return readmodel.UpdateOrCreate(e.EntityID, weight{}, func(w *weight) { w.Grams += version + 1 })
		})},
	})
	return reventless.New("scales", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{scale, weights}}))
}

// A rebuild that was stopped left the rows of the commits done so far, for ever. Here the
// process ends at each write of a rebuild, before or after it takes effect.
func TestRebuildOnSQLiteSurvivesTheEndOfItsProcessAtEachWrite(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		for at, ended := 1, true; ended; at++ {
			path := filepath.Join(t.TempDir(), "app.db")
			run := func(version int, f func(h *host.Host, p *faults.Provider)) {
				t.Helper()
				file, err := sqlite.Open(t.Context(), path, nil)
				if err != nil {
					t.Fatal(err)
				}
				p := faults.New(file, nil)
				h, err := host.Open(t.Context(), scales(version).Assembled(), p, &host.Options{Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatal(err)
				}
				f(h, p)
				if err := h.Close(); err != nil {
					t.Error(err)
				}
				if err := file.Close(); err != nil {
					t.Error(err)
				}
			}
			idle := func(h *host.Host) {
				if err := h.Start(t.Context()); err != nil {
					t.Error(err)
				} else if err := h.WaitIdle(t.Context()); err != nil {
					t.Error(err)
				}
			}
			run(0, func(h *host.Host, _ *faults.Provider) {
				for i := range 6 {
					if _, err := h.Send(t.Context(), driver.Command{Target: "Shop.Scale", Entity: fmt.Sprint(i % 3), Type: "Note", Version: 1, Data: []byte("{}")}); err != nil {
						t.Fatal(err)
					}
				}
				idle(h)
			})
			run(1, func(h *host.Host, p *faults.Provider) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				p.EndAtWrite(at, after, cancel)
				if err := h.Start(ctx); err == nil {
					_ = h.WaitIdle(ctx)
				}
				ended = p.Ended()
			})
			run(1, func(h *host.Host, _ *faults.Provider) {
				idle(h)
				for i := range 3 {
					page, err := h.QueryEngine().Query(t.Context(), driver.Query{ReadModel: "Shop.Weights", Index: "byGrams", Value: 4.0})
					var w weight
					if err != nil || len(page.Rows) != 3 || json.Unmarshal(page.Rows[i].Data, &w) != nil || w.Grams != 4 {
						t.Fatalf("end at write %d (after it: %t): got the rows %+v, %v", at, after, page.Rows, err)
					}
				}
				if states, err := h.Rebuilds(t.Context()); err != nil || len(states) > 0 {
					t.Errorf("end at write %d: got the rebuilds %+v, %v after the end", at, states, err)
				}
			})
			if !ended && at < 5 {
				t.Errorf("the rebuild had %d writes only", at-1)
			}
		}
	}
}
