// Package views declares the read models of the plugin Catalog.
package views
