// Package readmodel declares read models: rows that are projected from events, and
// queried by id, by index, or as a whole.
//
//	var Balances = readmodel.New(readmodel.Spec[Balance]{
//		Name:        "Balances",
//		Projections: readmodel.Projections[Balance]{readmodel.On(Account, project)},
//	})
//
//	func project(e message.Event[account.Event]) readmodel.Changes[Balance] {
//		switch d := e.Data.(type) {
//		case account.Opened:
//			return readmodel.Put(e.EntityID, Balance{Owner: d.Owner})
//		case account.Deposited:
//			return readmodel.Update(e.EntityID, func(r *Balance) { r.Amount += d.Amount })
//		}
//		return nil
//	}
//
// A projection is a pure function from an event to changes of rows. Each commit is
// applied exactly once, and the commits of one stream in their order. Events of
// different streams have no order; so a row that depends on several streams needs
// changes that commute, such as [UpdateOrCreate] with additions.
//
// A read model is eventually consistent. It can be rebuilt from the event logs at any
// time, for example after a projection has been corrected.
package readmodel
