package topology_test

import (
	"fmt"

	"github.com/reventless-go/reventless/topology"
)

func ExampleApp_Mermaid() {
	app := topology.App{Name: "shop", Plugins: []topology.Plugin{{Name: "Ordering", Components: []topology.Component{
		{Name: "Ordering.Order", Kind: "Aggregate"},
		{Name: "Ordering.Orders", Kind: "ReadModel", Sources: []topology.Source{{Log: "Ordering.Order"}}},
		{Name: "Ordering.Restock", Kind: "Automation", Sources: []topology.Source{{Log: "Ordering.Order"}}, Targets: []string{"Ordering.Stock"}},
		{Name: "Ordering.Stock", Kind: "Aggregate"},
	}}}}
	fmt.Print(app.Mermaid())
	// Output:
	// flowchart LR
	//   subgraph Ordering
	//     Ordering_Order[["Order"]]
	//     Ordering_Orders[("Orders")]
	//     Ordering_Restock("Restock")
	//     Ordering_Stock[["Stock"]]
	//   end
	//   Ordering_Order --> Ordering_Orders
	//   Ordering_Order --> Ordering_Restock
	//   Ordering_Restock -.-> Ordering_Stock
}
