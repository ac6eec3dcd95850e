package topology

import "slices"

// Route says how a component consumes a log.
type Route struct {
	// Log is the component that the log belongs to.
	Log string `json:"log"`
	// Consumer is the component that consumes it.
	Consumer string `json:"consumer"`
	// Topic reports whether it reads the log's event topic, which a relay publishes to,
	// instead of the log's change feed.
	Topic bool `json:"topic,omitempty"`
}

// Routes returns how every component consumes each of its logs if a change feed has at
// most maxFeedReaders readers. 0 means no limit, and no topics; a limit is at least 2,
// because the relay that publishes to a topic reads the feed itself.
//
// With a limit, a component reads the topic if it consumes the log through an extension
// point, or if the log has more consumers than the limit. The routes of a log are
// consecutive, those without a topic first.
func (a App) Routes(maxFeedReaders int) []Route {
	type reader struct {
		name     string
		crossing bool
	}
	readers := map[string][]reader{}
	var logs []string
	for _, p := range a.Plugins {
		for _, c := range p.Components {
			for _, s := range c.Sources {
				if readers[s.Log] == nil {
					logs = append(logs, s.Log)
				}
				if !slices.ContainsFunc(readers[s.Log], func(r reader) bool { return r.name == c.Name }) {
					readers[s.Log] = append(readers[s.Log], reader{c.Name, s.Point != ""})
				}
			}
		}
	}
	var routes []Route
	for _, log := range logs {
		var behind []Route
		for _, r := range readers[log] {
			topic := maxFeedReaders > 0 && (r.crossing || len(readers[log]) > maxFeedReaders)
			if topic {
				behind = append(behind, Route{log, r.name, true})
			} else {
				routes = append(routes, Route{log, r.name, false})
			}
		}
		routes = append(routes, behind...)
	}
	return routes
}
