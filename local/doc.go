// Package local runs an application in one process on one SQLite file: for
// development, tests and small installations.
//
// [Main] is a complete command line program:
//
//	func main() { local.Main(shop.App(), nil) }
//
// Its commands run the application with its API, send commands, print rows, events and
// parked messages, and rebuild read models.
//
// [Open] is for a program that embeds the application:
//
//	h, err := local.Open(ctx, shop.App(), "shop.db", nil)
//	if err != nil {
//		return err
//	}
//	defer h.Close()
//	if err := h.Start(ctx); err != nil {
//		return err
//	}
//	outcome, err := h.Send(ctx, "", order.Aggregate.To("o1", order.Pay{}))
//
// [Host.API] returns the API as an HTTP handler.
package local
