package local

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
)

// Lag is how far a component is behind the events of one of its sources.
type Lag struct {
	// Component is the component that consumes the events, and Log the one that
	// produces them: "<Plugin>.<Component>".
	Component, Log string
	// Commits is the number of commits that the component has not processed.
	Commits int64
	// Oldest is when the oldest of them was stored; zero without such commits.
	Oldest time.Time
	// Blocked reports whether a parked commit blocks one of the streams.
	Blocked bool
}

// Lags returns how far each component that consumes events is behind.
func (h *Host) Lags(ctx context.Context) ([]Lag, error) {
	lags, err := h.host.Lags(ctx)
	out := make([]Lag, len(lags))
	for i, l := range lags {
		out[i] = Lag{Component: l.Component, Log: l.Log, Commits: l.Commits, Oldest: l.Oldest, Blocked: l.Blocked}
	}
	return out, err
}

func (p *program) lagCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "lag",
		Short: "Print how far every component is behind its sources",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return p.with(c, false, func(h *Host) error {
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
				if err := w.Flush(); err != nil {
					return err
				}
				return printRebuilds(c.Context(), h, c.OutOrStdout())
			})
		},
	}
}

// printRebuilds prints what is half done.
func printRebuilds(ctx context.Context, h *Host, out io.Writer) error {
	all, err := h.Rebuilds(ctx)
	if err != nil {
		return err
	}
	for _, r := range all {
		switch {
		case r.StartedAt.IsZero():
			_, err = fmt.Fprintf(out, "%s was filled by another version; the next start rebuilds it\n", r.ReadModel)
		case r.Waits != "":
			_, err = fmt.Fprintf(out, "the rebuild of %s waits: %s\n", r.ReadModel, r.Waits)
		default:
			_, err = fmt.Fprintf(out, "the rebuild of %s, begun at %s, has not ended\n", r.ReadModel, r.StartedAt.UTC().Format(time.RFC3339))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
