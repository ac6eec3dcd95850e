package driver

import "context"

// CommandTopic is the sending end of one aggregate's command queue. Commands are
// grouped by entity: the commands of one entity are delivered in the order in which
// Send accepted them.
type CommandTopic interface {
	// Send accepts commands in order. Accepted commands are durable and are
	// delivered at least once. A command whose [Command.DeduplicationKey] was accepted
	// for the same entity within the last five minutes, by the provider's clock, is
	// accepted but not delivered again.
	//
	// Commands are refused one by one: [ErrTooLarge] for a command over the size
	// limit, [ErrInvalid] for a bad entity or command id. The other commands are
	// accepted, and the error is a *[BatchError] keyed by command id. For an empty
	// batch Send returns nil.
	Send(ctx context.Context, commands []Command) error
}
