package local

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/reventless-go/reventless/internal/host"
)

// Lag says how far a component is behind the events of one of its sources.
type Lag = host.Lag

// Lags returns how far every component that consumes events is behind.
func (h *Host) Lags(ctx context.Context) ([]Lag, error) { return h.host.Lags(ctx) }

func (p *program) lagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lag",
		Short: "Print how far every component is behind its sources",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.with(c.Context(), false, func(h *Host) error {
				lags, err := h.Lags(c.Context())
				if err != nil {
					return err
				}
				now := time.Now
				if p.opts.Now != nil {
					now = p.opts.Now
				}
				w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
				_, _ = fmt.Fprintln(w, "component\tsource\tcommits\tseconds\tparked")
				for _, l := range lags {
					seconds := 0.0
					if !l.Oldest.IsZero() {
						seconds = now().Sub(l.Oldest).Seconds()
					}
					_, _ = fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%v\n", l.Component, l.Log, l.Commits, seconds, l.Blocked)
				}
				return w.Flush()
			})
		},
	}
}
