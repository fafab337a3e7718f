"use strict";
// Sorting by DataTables, set up the same way for all tables.
window.seekbench.sortable = (() => {
  const number = (text) => (text === "" || text === null ? null : Number(text));
  const compare = (sign) => (a, b) => {
    const x = number(a);
    const y = number(b);
    // What has no figure stands last in both directions.
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x - y);
  };
  DataTable.ext.type.order["figure-asc"] = compare(1);
  DataTable.ext.type.order["figure-desc"] = compare(-1);
  DataTable.ext.errMode = "throw";

  return function sortable(table, order, filter) {
    const heads = [...table.tHead.rows[0].cells];
    const made = new DataTable(table, {
      paging: false,
      info: false,
      autoWidth: false,
      layout: { topStart: null, topEnd: null, bottomStart: null, bottomEnd: null },
      language: { zeroRecords: "Nothing fits the filters." },
      order,
      columnDefs: heads.map((head, target) => {
        const words = ["system", "text"].includes(head.dataset.kind);
        const ascending = words || "ascending" in head.dataset;
        return {
          target,
          type: words ? "string" : "figure",
          className: words ? "" : "figure",
          orderSequence: ascending ? ["asc", "desc"] : ["desc", "asc"],
        };
      }),
    });
    if (filter) made.search.fixed("page", filter);
    return made;
  };
})();
