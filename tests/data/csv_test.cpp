// Tables of text: quoting, line ends, separators, numbers, and errors that name line and column.
#include "epitaxy/data/csv.h"

#include <cmath>

#include "files.h"

namespace epitaxy::test {

Table read_text(const std::string& contents) {
  const Folder folder;
  return read_csv(folder.write("t.csv", contents));
}

TEST(Csv, PlainTable) {
  const Table table = read_text("a,b\n1,x\n2,y\n");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(table.cells[0], (std::vector<std::string>{"1", "2"}));
  EXPECT_EQ(table.cells[1], (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(table.lines, (std::vector<std::int64_t>{2, 3}));
}

TEST(Csv, QuotesLineEndsMarkAndBlanks) {
  const Table table = read_text("\xef\xbb\xbf\"name, full\" ,\"b\"\"q\"\r\n\r\n\"two\nlines\", 7 \r\n,\"\"");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"name, full", "b\"q"}));
  EXPECT_EQ(table.cells[0], (std::vector<std::string>{"two\nlines", ""}));
  EXPECT_EQ(table.cells[1], (std::vector<std::string>{"7", ""}));
  EXPECT_EQ(table.lines, (std::vector<std::int64_t>{3, 5}));
}

TEST(Csv, OtherSeparatorsAndEmptyCells) {
  EXPECT_EQ(read_text("a;b\n1,5;2\n").cells[0], (std::vector<std::string>{"1,5"}));
  const Table tabs = read_text("a\tb\tc\n\t2\t\n1\t\t3");
  EXPECT_EQ(tabs.cells[0], (std::vector<std::string>{"", "1"}));
  EXPECT_EQ(tabs.cells[1], (std::vector<std::string>{"2", ""}));
  EXPECT_EQ(tabs.cells[2], (std::vector<std::string>{"", "3"}));
  EXPECT_EQ(read_text("a,b\n1,").cells[1], (std::vector<std::string>{""}));
}

TEST(Csv, ErrorsNameTheLine) {
  EXPECT_TRUE(mentions(error_of([] { read_text("a,b\n1,2\n\n3\n"); }, Fault::failure), {"t.csv", "line 4", "1 cells", "complete the row"}));
  EXPECT_TRUE(mentions(error_of([] { read_text("a,b\n1,2,3\n"); }, Fault::failure), {"line 2", "3 cells"}));
  EXPECT_TRUE(mentions(error_of([] { read_text("a,b\n1,\"2\n"); }, Fault::failure), {"line 2", "quote"}));
  EXPECT_TRUE(mentions(error_of([] { read_text("a,b\n1,\"2\"x\n"); }, Fault::failure), {"line 2", "quoted"}));
  EXPECT_TRUE(mentions(error_of([] { read_text(""); }, Fault::failure), {"empty"}));
  EXPECT_TRUE(mentions(error_of([] { read_text("a,b\n"); }, Fault::failure), {"no rows"}));
  EXPECT_TRUE(mentions(error_of([] { read_text("1,2\n3,4\n"); }, Fault::usage), {"no header"}));
  EXPECT_TRUE(mentions(error_of([] { read_text(std::string("a,b\n\0,1\n", 8)); }, Fault::usage), {"not a table"}));
  EXPECT_TRUE(mentions(error_of([] { read_csv("absent.csv"); }, Fault::usage), {"absent.csv", "does not exist"}));
}

TEST(Csv, ColumnsByName) {
  const Table table = read_text("a,b,b\n1,2,3\n");
  EXPECT_EQ(table.column("a"), 0u);
  EXPECT_TRUE(mentions(error_of([&] { (void)table.column("c"); }, Fault::usage), {"'c'", "a, b"}));
  EXPECT_TRUE(mentions(error_of([&] { (void)table.column("b"); }, Fault::usage), {"two columns", "'b'"}));
}

TEST(Csv, Numbers) {
  EXPECT_EQ(parse_number(" 1.5 "), 1.5);
  EXPECT_EQ(parse_number("+2e3"), 2000.0);
  EXPECT_EQ(parse_number("-.5"), -0.5);
  EXPECT_TRUE(std::isnan(*parse_number("nan")));
  for (const char* cell : {"", " ", "1.5x", "1,5", "--1", "+-1", "abc", "1e999", "0x10", "1 2"})
    EXPECT_EQ(parse_number(cell), std::nullopt) << cell;
}

TEST(Csv, BadCellsNameFileLineAndColumn) {
  const Table table = read_text("a,b\n1,\n2,x\n3,nan\n4,inf\n5,1e300\n6,7\n");
  const char* const wanted[] = {"empty", "'x'", "finite", "finite", "fp32"};
  for (std::int64_t row = 0; row < 5; ++row)
    EXPECT_TRUE(mentions(error_of([&] { number_at(table, 1, row); }, Fault::failure),
                         {"t.csv", "line " + std::to_string(row + 2), "column 'b'", wanted[row]}));
  EXPECT_EQ(number_at(table, 1, 5), 7.0);
}

TEST(Csv, KindsOfColumns) {
  const Table table = read_text("zero,one,broken,text,gap,off\n0,1,5,a,,1\n1,2,x,b,4,3\n2,3,6,7,5,2\n");
  EXPECT_TRUE(is_row_number(table, 0) && is_row_number(table, 1));
  for (const std::size_t column : {2, 3, 4, 5}) EXPECT_FALSE(is_row_number(table, column)) << column;
  for (const std::size_t column : {0, 1, 2, 4, 5}) EXPECT_TRUE(is_numeric(table, column)) << column;
  EXPECT_FALSE(is_numeric(table, 3));
}

TEST(Csv, OtherEncodingsAreRefusedAndTheirLineNamed) {
  const auto refusal = [](const std::string& text) { return error_of([&] { read_text(text); }, Fault::usage); };
  EXPECT_TRUE(mentions(refusal("x,H\xe4rte\n1,2\n"), {"line 1", "UTF-8"}));
  EXPECT_TRUE(mentions(refusal("x,y\n1,2\n3,20 \xb0"
                               "C\n"),
                       {"line 3", "UTF-8"}));
  for (const char* bad : {"\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xff"})
    EXPECT_TRUE(mentions(refusal(std::string("x,y\n1,") + bad), {"line 2"})) << bad;
  for (const char* good : {"\xc3\xa4", "\xe2\x82\xac", "\xed\x9f\xbf", "\xf0\x9f\x94\xac", "\xf4\x8f\xbf\xbf"})
    EXPECT_EQ(read_text(std::string("x,y\n1,") + good).cells[1][0], good);
}

}  // namespace epitaxy::test
