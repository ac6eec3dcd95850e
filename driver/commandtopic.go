package driver

import "context"

// CommandTopic is the sending end of one aggregate's command queue. Its groups
// are the entities: the commands of one entity are delivered in the order in
// which Send accepted them.
type CommandTopic interface {
	// Send accepts commands, in order. Accepted commands are durable and will be
	// delivered at least once. A command whose id was accepted for the same
	// entity within the last five minutes, by the provider's clock, is accepted
	// again and not delivered again.
	//
	// When some commands were refused and the others accepted the error is a
	// *[BatchError] keyed by command id: [ErrTooLarge] for one over the size
	// limit, [ErrInvalid] for a bad entity or command id. One command's refusal
	// harms no other. An empty batch is nil.
	Send(ctx context.Context, commands []Command) error
}
