package topology

import "slices"

// Route is how a consumer reads a log.
type Route struct {
	// Log is the component whose log is read.
	Log string `json:"log"`
	// Consumer is the component that reads it.
	Consumer string `json:"consumer"`
	// Topic is true where it reads through the log's event topic, which a relay
	// feeds; false where it reads the log's change feed itself.
	Topic bool `json:"topic,omitempty"`
}

// Routes returns how every consumer reads each of its logs where at most
// maxFeedReaders may read one change feed; 0 is no bound, and no topics.
//
// With a bound, a consumer at an extension point reads through the topic, and so
// do all consumers of a log that has more of them than the bound. The relay that
// feeds a topic reads the feed itself, so that the bound has to be 2 at least.
// The routes of a log follow one another, those without the topic first.
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
