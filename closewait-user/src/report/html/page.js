(function () {
  "use strict";
  var box = document.getElementById("search");
  var field = document.getElementById("words");
  var shown = document.getElementById("shown");
  if (!box) { return; }
  var rows = Array.prototype.slice.call(document.querySelectorAll("#sockets tbody tr"));
  var texts = rows.map(function (row) {
    return Array.prototype.map.call(row.cells, function (cell) { return cell.textContent; }).join(" ").toLowerCase();
  });
  function search() {
    var words = field.value.toLowerCase().split(/\s+/);
    var found = 0;
    rows.forEach(function (row, n) {
      row.hidden = !words.every(function (word) { return texts[n].indexOf(word) !== -1; });
      if (!row.hidden) { found += 1; }
    });
    shown.textContent = found + " of " + rows.length;
  }
  box.hidden = false;
  field.addEventListener("input", search);
  search();
}());
