// Package topology is an App as plain data: what exists, who reads whom, and
// what each component may do. It is stable as JSON.
//
// Hosts wire by it and deploy programs provision by it, so that wiring, grants
// and handlers cannot disagree.
package topology

// App is a described application.
type App struct {
	Name    string   `json:"name"`
	Plugins []Plugin `json:"plugins"`
}

// Plugin is a described plugin.
type Plugin struct {
	Name string `json:"name"`
	Doc  string `json:"doc,omitempty"`
	// HeartbeatSeconds is the interval of its heartbeat; 0 is none.
	HeartbeatSeconds int         `json:"heartbeatSeconds,omitempty"`
	Components       []Component `json:"components"`
}

// Component is a described component.
type Component struct {
	// Name is the logical name: "<Plugin>.<Component>".
	Name string `json:"name"`
	// Kind is one of Aggregate, ReadModel, Automation, SideEffect, Extension,
	// ExtensionPoint, Counter, Schedule, Bucket, Task.
	Kind string `json:"kind"`
	Doc  string `json:"doc,omitempty"`
	// Sources are the components whose events it consumes.
	Sources []Source `json:"sources,omitempty"`
	// Targets are the components that it addresses.
	Targets []string `json:"targets,omitempty"`
	// Grants are what it may do, and nothing else.
	Grants []Grant `json:"grants,omitempty"`

	// Commands and Events are the messages of an aggregate, counter or point.
	Commands []Message `json:"commands,omitempty"`
	Events   []Message `json:"events,omitempty"`
	// Async says that an aggregate's commands go through the queue.
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
	// Bucket, Prefix and Suffix say what a task watches.
	Bucket string `json:"bucket,omitempty"`
	Prefix string `json:"prefix,omitempty"`
	Suffix string `json:"suffix,omitempty"`
	// Version is an extension point's protocol version.
	Version int `json:"version,omitempty"`
}

// Source is where a component's events come from.
type Source struct {
	// Log is the component whose log is read.
	Log string `json:"log"`
	// Point is the extension point through which it is read, if there is one.
	Point string `json:"point,omitempty"`
}

// Message is a type of a command or event.
type Message struct {
	Name    string   `json:"name"`
	Version int      `json:"version"`
	Aliases []string `json:"aliases,omitempty"`
}

// Index is an index of a read model.
type Index struct {
	Name    string   `json:"name"`
	Key     string   `json:"key"`
	Sort    string   `json:"sort,omitempty"`
	Include []string `json:"include,omitempty"`
}

// Grant allows operations of one driver of one component.
type Grant struct {
	// Driver is the driver interface: EventLog, CommandTopic, QueryDb and so on.
	Driver string `json:"driver"`
	// Component is whose it is; empty for those of the whole App.
	Component string `json:"component,omitempty"`
	// Operations are methods of the interface.
	Operations []string `json:"operations"`
}
