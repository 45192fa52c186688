// Loads the places of places.csv into the database that DBCONNECTION names.
//
//   DBCONNECTION  a secret: sqlite:///folder/file.db
//   FILTER        only places of this type ("Town"); all without it
//   LOADER_EXIT   ends with this code after the work, for trying what follows a failure
//
// Ends with 0; 3 when the database is not named or not of a kind we know; 4 when the data are bad; 5 when the
// database refuses them. What DBCONNECTION says is never printed.
'use strict';

const { spawnSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { parse } = require('csv-parse/sync');
const proj4 = require('proj4');

const NATIONAL_GRID = '+proj=tmerc +lat_0=49 +lon_0=-2 +k=0.9996012717 +x_0=400000 +y_0=-100000 +ellps=airy ' +
  '+towgs84=446.448,-125.157,542.06,0.15,0.247,0.842,-20.489 +units=m +no_defs';

class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

const say = (line) => console.log(`os_opendata: ${line}`);

function load() {
  say('starting');
  const database = databaseFile(process.env.DBCONNECTION);
  const places = readPlaces(path.join(__dirname, 'places.csv'));
  const filter = process.env.FILTER || '';
  const chosen = places.filter((place) => !filter || place.type === filter);
  say(`${places.length} places read, ${chosen.length} chosen${filter ? ` by FILTER=${filter}` : ''}`);
  store(chosen, database);
  say(`${count(database)} places in the database`);
  say('finished');
}

function databaseFile(connection) {
  if (!connection) throw new Failure(3, 'DBCONNECTION is not set');
  const file = /^sqlite:\/\/(\/.+)$/.exec(connection);
  if (!file) throw new Failure(3, 'DBCONNECTION names no database of a kind that this loader knows (sqlite:///file)');
  return file[1];
}

function readPlaces(file) {
  let rows;
  try {
    rows = parse(fs.readFileSync(file), { columns: true });
  } catch (error) {
    throw new Failure(4, `places.csv: ${error.message}`);
  }
  return rows.map(({ id, name, type, county, easting, northing }) => {
    const position = [Number(easting), Number(northing)];
    if (!position.every(Number.isFinite)) throw new Failure(4, `places.csv: place ${id} has no position`);
    const [longitude, latitude] = proj4(NATIONAL_GRID, 'WGS84', position);
    return { id, name, type, county, longitude: longitude.toFixed(5), latitude: latitude.toFixed(5) };
  });
}

// GDAL reads a CSV's own header; quotes are doubled as RFC 4180 has it.
function store(places, database) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'places-'));
  const csv = path.join(folder, 'places.csv');
  const quoted = (value) => `"${String(value).replace(/"/g, '""')}"`;
  const header = ['id', 'name', 'type', 'county', 'longitude', 'latitude'];
  const lines = [header, ...places.map((place) => header.map((column) => place[column]))];
  fs.writeFileSync(csv, lines.map((line) => line.map(quoted).join(',')).join('\n') + '\n');
  gdal('ogr2ogr', ['-f', 'SQLite', '-overwrite', '-nln', 'places', database, csv], database);
  fs.unlinkSync(csv);
  fs.rmdirSync(folder);
}

function count(database) {
  const told = gdal('ogrinfo', ['-ro', '-q', '-sql', 'SELECT count(*) AS n FROM places', database], database);
  const found = /n \(Integer.*\) = (\d+)/.exec(told);
  if (!found) throw new Failure(5, 'the database does not say how many places it has');
  return found[1];
}

function gdal(command, args, database) {
  const run = spawnSync(command, args, { encoding: 'utf8' });
  if (run.error) throw new Failure(5, `${command}: ${run.error.code}`);
  if (run.status !== 0) throw new Failure(5, `${command}: ${run.stderr.split(database).join('(the database)').trim()}`);
  return run.stdout;
}

try {
  load();
  process.exitCode = Number(process.env.LOADER_EXIT || 0);
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(`os_opendata: ${error.message}`);
  process.exitCode = error.code;
}
