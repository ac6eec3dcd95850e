// Package topology describes an application as plain data: its components, which of
// them consume the events of which, and what each may do. Its JSON form is stable.
//
// Hosts connect components by it and deployments create resources by it. So the code
// that runs, its connections and its permissions cannot disagree.
package topology

// App describes an application.
type App struct {
	Name    string   `json:"name"`
	Plugins []Plugin `json:"plugins"`
}

// Plugin describes a plugin.
type Plugin struct {
	Name string `json:"name"`
	Doc  string `json:"doc,omitempty"`
	// HeartbeatSeconds is the interval of its heartbeats; 0 means none.
	HeartbeatSeconds int         `json:"heartbeatSeconds,omitempty"`
	Components       []Component `json:"components"`
}

// Component describes a component.
type Component struct {
	// Name is the logical name: "<Plugin>.<Component>".
	Name string `json:"name"`
	// Kind is one of Aggregate, ReadModel, Automation, SideEffect, Extension,
	// ExtensionPoint, Counter, Schedule, Bucket, Task.
	Kind string `json:"kind"`
	Doc  string `json:"doc,omitempty"`
	// Sources are the components whose events it consumes.
	Sources []Source `json:"sources,omitempty"`
	// Targets are the components that it may address.
	Targets []string `json:"targets,omitempty"`
	// Grants are all operations that it may perform.
	Grants []Grant `json:"grants,omitempty"`

	// Commands and Events are the messages of an aggregate, counter or extension point.
	Commands []Message `json:"commands,omitempty"`
	Events   []Message `json:"events,omitempty"`
	// Async reports whether an aggregate's commands are handled through a queue.
	Async bool `json:"async,omitempty"`
	// StateVersion and SnapshotEvery are an aggregate's.
	StateVersion  int `json:"stateVersion,omitempty"`
	SnapshotEvery int `json:"snapshotEvery,omitempty"`
	// SubID, Indexes and OwnRow are a read model's.
	SubID   string  `json:"subId,omitempty"`
	Indexes []Index `json:"indexes,omitempty"`
	OwnRow  bool    `json:"ownRow,omitempty"`
	// Expression and Zone are a schedule's or a task's.
	Expression string `json:"expression,omitempty"`
	Zone       string `json:"zone,omitempty"`
	// Bucket, Prefix and Suffix are the files that a task processes.
	Bucket string `json:"bucket,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	// Version is an extension point's protocol version.
	Version int `json:"version,omitempty"`
}

// Source is a log whose events a component consumes.
type Source struct {
	// Log is the component that the log belongs to.
	Log string `json:"log"`
	// Point is the extension point through which the component consumes the log. It is
	// empty for a log of the same plugin.
	Point string `json:"point,omitempty"`
}

// Message describes a type of commands or events.
type Message struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Aliases []string `json:"aliases,omitempty"`
}

// Index describes an index of a read model.
type Index struct {
	Name    string   `json:"name"`
	Key     string   `json:"key"`
	Sort    string   `json:"sort,omitempty"`
	Include []string `json:"include,omitempty"`
}

// Grant permits operations on a resource of a component.
type Grant struct {
	// Driver is the name of the interface in package driver: EventLog, QueryDb, ...
	Driver string `json:"driver"`
	// Component is the component that the resource belongs to; empty if it belongs to
	// the whole App.
	Component string `json:"component,omitempty"`
	// Operations are the permitted methods of the interface.
	Operations []string `json:"operations"`
}
