module intaglio.example/test/wycheproof

go 1.26.4

replace intaglio.example => ../..

require (
	github.com/c2sp/wycheproof v0.0.0-20260902155932-3fa63dd0344a
	intaglio.example v0.0.0-00010101000000-000000000000
)
